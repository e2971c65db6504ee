// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "compare/recommend.h"
#include "compare/render.h"

namespace qx {
namespace {

// JSON has no NaN: a number that does not exist is null.
Json number(double x) {
  return std::isfinite(x) ? Json(x) : Json(nullptr);
}

Json interval(const Interval& i) {
  return Json::array({number(i.low), number(i.high)});
}

void add_difference(Json& out, const Difference& d) {
  out["diff"] = d.difference;
  out["relative"] = d.relative ? Json(*d.relative) : Json(nullptr);
  out["diff_ci"] = interval(d.interval);
  out["right_to_wrong"] = d.counts.right_to_wrong;
  out["wrong_to_right"] = d.counts.wrong_to_right;
  out["changed"] = d.changed;
  out["p"] = d.p;
  out["p_holm"] = d.p_holm;
  out["detectable"] = number(d.detectable);
  out["verdict"] = verdict_name(d.verdict);
}

Json average_json(const AverageDifference& a) {
  return Json{{"diff", a.difference},
              {"stderr", number(a.stderr_)},
              {"diff_ci", interval(a.interval)},
              {"p", number(a.p)},
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
    Json v{{"acc", s.accuracy}, {"stderr", number(s.stderr_)}, {"ci", interval(s.interval)}};
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

Json averages_json(const Comparison& c) {
  Json tasks = Json::array();
  for (const TaskSummary& t : c.tasks) {
    if (t.informative && t.n >= 2) tasks.push_back(t.task);
  }
  Json variants = Json::object();
  for (std::size_t r = 0; r < c.runs.size(); ++r) {
    Json v{
        {"acc", c.runs[r].average ? Json(*c.runs[r].average) : Json(nullptr)},
        {"stderr", c.runs[r].average_stderr ? number(*c.runs[r].average_stderr) : Json(nullptr)}};
    for (const PairSummary& pair : c.against_baseline) {
      if (pair.variant == r && pair.average) {
        Json difference = average_json(*pair.average);
        difference["diff_stderr"] = difference.at("stderr");
        difference.erase("stderr");
        v.update(difference);
      }
    }
    variants[c.runs[r].name] = v;
  }
  return Json{{"kind", "macro"}, {"tasks", tasks}, {"variants", variants}};
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
              {"average", pair.average ? average_json(*pair.average) : Json(nullptr)}};
}

}  // namespace

Json render_json(const Comparison& c) {
  Json out{{"baseline", c.runs[c.baseline].name}};
  out["alpha"] = kAlpha;
  out["confidence"] = kConfidence;
  out["runs"] = Json::array();
  for (const RunInfo& run : c.runs) {
    out["runs"].push_back(
        {{"name", run.name},
         {"tensor_bytes", run.tensor_bytes ? Json(*run.tensor_bytes) : Json(nullptr)},
         {"bits_per_weight", run.bits_per_weight ? Json(*run.bits_per_weight) : Json(nullptr)}});
  }
  out["tasks"] = Json::array();
  for (std::size_t t = 0; t < c.tasks.size(); ++t) out["tasks"].push_back(task_json(c, t));
  out["average"] = averages_json(c);
  out["pairs"] = Json::array();
  for (const PairSummary& pair : c.between_variants) out["pairs"].push_back(pair_json(c, pair));
  out["recommendation"] = Json::array();
  for (const Recommendation& r : recommend(c)) {
    out["recommendation"].push_back({{"use", r.use},
                                     {"choice", r.choice ? Json(*r.choice) : Json(nullptr)},
                                     {"because", r.because},
                                     {"verdict", verdict_name(r.verdict)}});
  }
  out["paragraph"] = paragraph(c);
  out["notes"] = c.notes;
  return out;
}

}  // namespace qx
