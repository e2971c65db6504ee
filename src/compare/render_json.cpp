// SPDX-License-Identifier: Apache-2.0
#include "compare/groups.h"
#include "compare/recommend.h"
#include "compare/render.h"

namespace qx {
namespace {

Json interval(const Interval& i) {
  return Json::array({json_of_number(i.low), json_of_number(i.high)});
}

template <typename T>
Json or_null(const std::optional<T>& x) {
  return x ? Json(*x) : Json(nullptr);
}

Json or_null(const std::optional<double>& x) {
  return x ? json_of_number(*x) : Json(nullptr);
}

void add_difference(Json& out, const Difference& d) {
  out["diff"] = d.difference;
  out["relative"] = or_null(d.relative);
  out["diff_stderr"] = json_of_number(d.stderr_);
  out["diff_ci"] = interval(d.interval);
  out["score_ci"] = interval(d.score_interval);
  out["right_to_wrong"] = d.counts.right_to_wrong;
  out["wrong_to_right"] = d.counts.wrong_to_right;
  out["changed"] = d.changed;
  out["clusters"] = d.clusters;
  out["p"] = json_of_number(d.p);
  out["p_mid"] = json_of_number(d.p_mid);
  out["p_holm"] = json_of_number(d.p_holm);
  out["p_equivalence"] = json_of_number(d.p_equivalence);
  out["p_equivalence_holm"] = json_of_number(d.p_equivalence_holm);
  out["within_margin"] = d.within_margin;
  out["detectable"] = json_of_number(d.detectable);
  out["items_needed"] = or_null(d.items_needed);
  if (d.margin_shift) {
    out["margin_shift"] = {{"n", d.margin_shift->n},
                           {"mean", json_of_number(d.margin_shift->mean)},
                           {"ci", interval(d.margin_shift->interval)},
                           {"p", json_of_number(d.margin_shift->p)}};
  }
  out["verdict"] = verdict_name(d.verdict);
}

Json average_json(const AverageDifference& a) {
  return Json{{"diff", json_of_number(a.difference)},
              {"stderr", json_of_number(a.stderr_)},
              {"diff_ci", interval(a.interval)},
              {"p", json_of_number(a.p)},
              {"p_holm", json_of_number(a.p_holm)},
              {"p_equivalence", json_of_number(a.p_equivalence)},
              {"p_equivalence_holm", json_of_number(a.p_equivalence_holm)},
              {"within_margin", a.within_margin},
              {"items_needed", or_null(a.items_needed)},
              {"verdict", verdict_name(a.verdict)}};
}

Json task_json(const Comparison& c, std::size_t t) {
  const TaskSummary& task = c.tasks[t];
  Json out{{"task", task.task},     {"n", task.n},
           {"metric", task.metric}, {"majority_share", task.majority_share},
           {"chance", task.chance}, {"informative", task.informative}};
  Json variants = Json::object();
  for (std::size_t r = 0; r < c.runs.size(); ++r) {
    const Score& s = task.scores[r];
    Json v{
        {"acc", s.accuracy}, {"stderr", json_of_number(s.stderr_)}, {"ci", interval(s.interval)}};
    if (s.clustered_stderr) v["stderr_clustered"] = json_of_number(*s.clustered_stderr);
    for (const PairSummary& pair : c.against_baseline) {
      if (pair.variant == r) add_difference(v, pair.tasks[t]);
    }
    v["flags"] = Json::array();
    for (const Flag& f : s.flags) v["flags"].push_back(flag_name(f.kind));
    variants[c.runs[r].name] = v;
  }
  out["variants"] = variants;
  return out;
}

Json averages_json(const Comparison& c, bool macro) {
  Json tasks = Json::array();
  for (const TaskSummary& t : c.tasks) {
    if (t.informative && t.n >= 2) tasks.push_back(t.task);
  }
  Json variants = Json::object();
  for (std::size_t r = 0; r < c.runs.size(); ++r) {
    const RunInfo& run = c.runs[r];
    Json v{{"acc", or_null(macro ? run.average : run.micro)},
           {"stderr", or_null(macro ? run.average_stderr : run.micro_stderr)}};
    for (const PairSummary& pair : c.against_baseline) {
      const auto& average = macro ? pair.average : pair.micro;
      if (pair.variant != r || !average) continue;
      Json difference = average_json(*average);
      difference["diff_stderr"] = difference.at("stderr");
      difference.erase("stderr");
      v.update(difference);
    }
    variants[run.name] = v;
  }
  return Json{{"kind", macro ? "macro" : "micro"}, {"tasks", tasks}, {"variants", variants}};
}

Json pair_json(const Comparison& c, const PairSummary& pair) {
  Json tasks = Json::array();
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    Json row{{"task", c.tasks[t].task}};
    add_difference(row, pair.tasks[t]);
    tasks.push_back(row);
  }
  return Json{{"baseline", c.runs[pair.baseline].name},
              {"variant", c.runs[pair.variant].name},
              {"tasks", tasks},
              {"average", pair.average ? average_json(*pair.average) : Json(nullptr)},
              {"micro", pair.micro ? average_json(*pair.micro) : Json(nullptr)}};
}

Json matrix_json(const Comparison& c) {
  Json runs = Json::array(), rows = Json::array();
  for (const RunInfo& run : c.runs) runs.push_back(run.name);
  for (const auto& verdicts : verdict_matrix(c)) {
    Json row = Json::array();
    for (const auto& verdict : verdicts) {
      row.push_back(verdict ? Json(verdict_name(*verdict)) : Json(nullptr));
    }
    rows.push_back(std::move(row));
  }
  return Json{{"of", "macro average"}, {"runs", runs}, {"verdicts", rows}};
}

Json groups_json(const Comparison& c) {
  Json out = Json::array();
  for (const auto& group : find_groups(c).groups) {
    Json runs = Json::array();
    for (const std::size_t r : group) runs.push_back(c.runs[r].name);
    out.push_back(Json{{"runs", std::move(runs)}});
  }
  return out;
}

Json speed_json(const SpeedFacts& s) {
  const auto measured = [](double x) { return x > 0 ? Json(x) : Json(nullptr); };
  return Json{{"prefill_tps", measured(s.prefill_tps)},
              {"decode_tps", measured(s.decode_tps)},
              {"prompt_tokens", s.prompt_tokens},
              {"generated_tokens", s.generated_tokens},
              {"peak_rss_bytes", s.peak_rss_bytes},
              {"bytes_per_token", s.bytes_per_token > 0 ? Json(s.bytes_per_token) : Json(nullptr)},
              {"read_share", or_null(s.read_share)},
              {"isa", s.isa},
              {"precision", s.precision},
              {"cpu", s.cpu},
              {"threads", s.threads}};
}

Json run_json(const RunInfo& run) {
  return Json{{"name", run.name},
              {"tensor_bytes", or_null(run.tensor_bytes)},
              {"bits_per_weight", or_null(run.bits_per_weight)},
              {"speed", run.speed ? speed_json(*run.speed) : Json(nullptr)},
              {"distance", run.distance ? distance_facts_json(*run.distance) : Json(nullptr)}};
}

Json comparison_json(const Comparison& c, std::optional<std::int64_t> budget) {
  Json out{{"baseline", c.runs[c.baseline].name}};
  out["alpha"] = kAlpha;
  out["confidence"] = kConfidence;
  out["margin"] = c.margin;
  out["runs"] = Json::array();
  for (const RunInfo& run : c.runs) out["runs"].push_back(run_json(run));
  out["tasks"] = Json::array();
  for (std::size_t t = 0; t < c.tasks.size(); ++t) out["tasks"].push_back(task_json(c, t));
  out["average"] = averages_json(c, true);
  out["micro_average"] = averages_json(c, false);
  out["pairs"] = Json::array();
  for (const PairSummary& pair : c.between_variants) out["pairs"].push_back(pair_json(c, pair));
  out["matrix"] = matrix_json(c);
  out["groups"] = groups_json(c);
  out["recommendation"] = Json::array();
  for (const Recommendation& r : recommend(c, {budget})) {
    out["recommendation"].push_back({{"use", r.use},
                                     {"choice", or_null(r.choice)},
                                     {"because", r.because},
                                     {"verdict", verdict_name(r.verdict)},
                                     {"more_items", or_null(r.more_items)}});
  }
  out["paragraph"] = paragraph(c);
  out["notes"] = c.notes;
  return out;
}

Json gates_json(const std::vector<GateResult>& gates) {
  Json out = Json::array();
  for (const GateResult& g : gates) {
    out.push_back({{"gate", g.gate},
                   {"variant", g.variant},
                   {"subject", g.subject},
                   {"estimate", json_of_number(g.estimate)},
                   {"side", g.above ? "lower" : "upper"},
                   {"bound", json_of_number(g.bound)},
                   {"limit", g.limit},
                   {"held", g.held},
                   {"reason", g.reason}});
  }
  return out;
}

}  // namespace

Json render_json(const Comparison& comparison) {
  return comparison_json(comparison, std::nullopt);
}

Json render_json(const ComparedRuns& compared) {
  Json out = compared.paired ? comparison_json(*compared.paired, compared.budget)
                             : Json{{"baseline", compared.baseline},
                                    {"tasks", Json::array()},
                                    {"notes", compared.notes}};
  if (!compared.unpaired.empty()) out["unpaired"] = unpaired_json(compared.unpaired);
  if (compared.flips) out["flips"] = flips_json(*compared.flips);
  if (!compared.gates.empty()) out["gates"] = gates_json(compared.gates);
  return out;
}

}  // namespace qx
