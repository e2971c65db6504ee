// SPDX-License-Identifier: Apache-2.0
#include "report/page_json.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

#include "compare/words.h"

namespace qx {
namespace {

template <typename T>
Json optional_number(const std::optional<T>& x) {
  return x ? json_of_number(static_cast<double>(*x)) : Json();
}

Json integer(const std::optional<std::int64_t>& x) {
  return x ? Json(*x) : Json();
}

Json interval_json(const Interval& interval) {
  return Json::array({json_of_number(interval.low), json_of_number(interval.high)});
}

// Six digits are enough to read, and keep the page small.
Json short_number(double x) {
  if (x == -std::numeric_limits<double>::infinity()) return "-inf";
  if (!std::isfinite(x)) return nullptr;
  if (x == 0) return 0;
  const double unit = std::pow(10.0, 5 - std::floor(std::log10(std::abs(x))));
  const double rounded = std::round(x * unit) / unit;
  return json_of_number(rounded);
}

Json runs_json(const Comparison& comparison) {
  Json runs = Json::array();
  for (const RunInfo& run : comparison.runs) {
    runs.push_back({{"name", run.name},
                    {"bytes", integer(run.tensor_bytes)},
                    {"bits", optional_number(run.bits_per_weight)},
                    {"average", optional_number(run.average)},
                    {"average_stderr", optional_number(run.average_stderr)},
                    {"micro", optional_number(run.micro)},
                    {"micro_stderr", optional_number(run.micro_stderr)}});
  }
  return runs;
}

Json score_json(const Score& score) {
  Json flags = Json::array();
  for (const Flag& flag : score.flags) {
    flags.push_back({{"name", flag_name(flag.kind)}, {"text", flag.text}});
  }
  return {{"right", score.right},
          {"n", score.n},
          {"acc", json_of_number(score.accuracy)},
          {"stderr", json_of_number(score.stderr_)},
          {"ci", interval_json(score.interval)},
          {"flags", std::move(flags)},
          {"no_information", no_information(score.flags)}};
}

Json tasks_json(const Comparison& comparison) {
  Json tasks = Json::array();
  for (const TaskSummary& task : comparison.tasks) {
    Json scores = Json::array();
    for (const Score& score : task.scores) scores.push_back(score_json(score));
    tasks.push_back({{"task", task.task},
                     {"metric", task.metric},
                     {"n", task.n},
                     {"majority", json_of_number(task.majority_share)},
                     {"chance", json_of_number(task.chance)},
                     {"informative", task.informative},
                     {"scores", std::move(scores)}});
  }
  return tasks;
}

Json margin_shift_json(const std::optional<MarginShift>& shift) {
  if (!shift) return nullptr;
  return {
      {"mean", short_number(shift->mean)},
      {"ci", Json::array({short_number(shift->interval.low), short_number(shift->interval.high)})},
      {"p", json_of_number(shift->p)}};
}

Json difference_json(const Comparison& comparison, const Difference& d) {
  return {{"diff", json_of_number(d.difference)},
          {"ci", interval_json(d.interval)},
          {"right_to_wrong", d.counts.right_to_wrong},
          {"wrong_to_right", d.counts.wrong_to_right},
          {"changed", d.changed},
          {"p_holm", json_of_number(d.p_holm)},
          {"p_equivalence", json_of_number(d.p_equivalence_holm)},
          {"detectable", json_of_number(d.detectable)},
          {"more_items", integer(d.items_needed)},
          {"clusters", d.clusters},
          {"margin_shift", margin_shift_json(d.margin_shift)},
          {"verdict", verdict_name(d.verdict)},
          {"words", verdict_words(d.verdict, d.within_margin, comparison.margin)}};
}

Json average_json(const Comparison& comparison, const std::optional<AverageDifference>& a) {
  if (!a) return nullptr;
  return {{"diff", json_of_number(a->difference)},
          {"stderr", json_of_number(a->stderr_)},
          {"ci", interval_json(a->interval)},
          {"p_holm", json_of_number(a->p_holm)},
          {"p_equivalence", json_of_number(a->p_equivalence_holm)},
          {"more_items", integer(a->items_needed)},
          {"verdict", verdict_name(a->verdict)},
          {"words", verdict_words(a->verdict, a->within_margin, comparison.margin)}};
}

Json pair_json(const Comparison& comparison, const PairSummary& pair) {
  Json tasks = Json::array();
  for (std::size_t t = 0; t < pair.tasks.size(); ++t) {
    tasks.push_back(difference_json(comparison, pair.tasks[t]));
    if (!is_told(comparison, pair, t)) {
      tasks.back()["verdict"] = tasks.back()["words"] = "no information";
    }
  }
  return {{"baseline", pair.baseline},
          {"variant", pair.variant},
          {"tasks", std::move(tasks)},
          {"average", average_json(comparison, pair.average)}};
}

Json pairs_json(const Comparison& comparison) {
  Json json = Json::array();
  for (const PairSummary& pair : comparison.against_baseline) {
    json.push_back(pair_json(comparison, pair));
  }
  return json;
}

Json matrix_json(const VerdictMatrix& matrix) {
  Json rows = Json::array();
  for (const auto& row : matrix) {
    rows.push_back(Json::array());
    for (const auto& verdict : row) {
      rows.back().push_back(verdict ? Json(verdict_name(*verdict)) : Json());
    }
  }
  return rows;
}

Json recommendations_json(const std::vector<Recommendation>& recommendations) {
  Json json = Json::array();
  for (const Recommendation& r : recommendations) {
    json.push_back({{"use", r.use},
                    {"choice", r.choice ? Json(*r.choice) : Json()},
                    {"because", r.because},
                    {"more_items", integer(r.more_items)},
                    {"verdict", verdict_name(r.verdict)}});
  }
  return json;
}

Json frontier_json(const std::vector<FrontierPoint>& points) {
  Json json = Json::array();
  for (const FrontierPoint& p : points) {
    json.push_back({{"run", p.run},
                    {"cost", json_of_number(p.cost)},
                    {"average", json_of_number(p.average)},
                    {"stderr", optional_number(p.stderr_)},
                    {"front", p.on_front},
                    {"beaten_by", p.beaten_by ? Json(*p.beaten_by) : Json()}});
  }
  return json;
}

Json speed_json(const Comparison& comparison) {
  Json json = Json::array();
  for (const RunInfo& run : comparison.runs) {
    if (!run.speed) continue;
    const SpeedFacts& s = *run.speed;
    std::string machine = fmt::format("{}, {}, {} {}", s.isa, s.precision, s.threads,
                                      s.threads == 1 ? "thread" : "threads");
    if (!s.cpu.empty()) machine += ", " + s.cpu;
    json.push_back({{"run", run.name},
                    {"prefill", json_of_number(s.prefill_tps)},
                    {"decode", json_of_number(s.decode_tps)},
                    {"prompt_tokens", s.prompt_tokens},
                    {"generated_tokens", s.generated_tokens},
                    {"peak_rss", s.peak_rss_bytes},
                    {"bytes_per_token", s.bytes_per_token},
                    {"read_share", optional_number(s.read_share)},
                    {"machine", std::move(machine)}});
  }
  return json;
}

Json distance_json(const Comparison& comparison) {
  Json json = Json::array();
  for (const RunInfo& run : comparison.runs) {
    if (!run.distance) continue;
    Json facts = distance_facts_json(*run.distance);
    facts["run"] = run.name;
    json.push_back(std::move(facts));
  }
  return json;
}

Json search_page_json(const SearchRecord& search) {
  Json curve = Json::array(), measured = Json::array();
  for (const SearchCurvePoint& p : search.curve) {
    curve.push_back({{"bytes", p.bytes}, {"predicted", short_number(p.predicted)}});
  }
  for (const SearchMeasurement& m : search.measured) {
    measured.push_back({{"name", m.name},
                        {"kind", m.kind},
                        {"codes", m.codes},
                        {"chosen", m.kind == "candidate" && m.plan_hash == search.plan_hash},
                        {"bytes", m.bytes},
                        {"bits", short_number(m.bits_per_weight)},
                        {"predicted", optional_number(m.predicted)},
                        {"kl", short_number(m.kl)},
                        {"kl_stderr", optional_number(m.kl_stderr)},
                        {"top1", json_of_number(m.top1)},
                        {"ppl", short_number(m.perplexity)}});
  }
  return {{"recipe", search.recipe},   {"budget", search.budget},
          {"bytes", search.bytes},     {"predicted", short_number(search.predicted)},
          {"curve", std::move(curve)}, {"measured", std::move(measured)}};
}

Json weights_json(const WeightMap& map) {
  Json roles = Json::array(), outside = Json::array(), widths = Json::array();
  for (std::size_t r = 0; r < map.roles.size(); ++r) {
    Json cells = Json::array();
    for (const auto& cell : map.cells[r]) cells.push_back(cell ? short_number(cell->bits) : Json());
    roles.push_back({{"role", map.roles[r]}, {"bits", std::move(cells)}});
  }
  for (const auto& [role, cell] : map.outside) {
    outside.push_back({{"role", role}, {"bits", short_number(cell.bits)}});
  }
  for (const WidthRow& w : map.widths) {
    widths.push_back({{"mode", w.mode},
                      {"bits", w.bits},
                      {"group", w.group_size},
                      {"tensors", w.tensors},
                      {"weights", w.weights},
                      {"bytes", w.bytes}});
  }
  return {{"run", map.run},
          {"missing", map.missing},
          {"roles", std::move(roles)},
          {"outside", std::move(outside)},
          {"widths", std::move(widths)}};
}

Json errors_json(const LayerErrors& errors) {
  Json layers = Json::array(), roles = Json::array(), worst = Json::array();
  for (const auto& layer : errors.layers) layers.push_back(layer ? short_number(*layer) : Json());
  for (const auto& [role, error] : errors.roles) {
    roles.push_back({{"role", role}, {"error", short_number(error)}});
  }
  for (const TensorErrorRow& t : errors.worst) {
    worst.push_back({{"name", t.name},
                     {"error", short_number(t.relative)},
                     {"sqnr", short_number(t.sqnr_db)},
                     {"bits", t.bits},
                     {"group", t.group_size}});
  }
  return {{"run", errors.run},
          {"missing", errors.missing},
          {"tensors", errors.quantized_tensors},
          {"layers", std::move(layers)},
          {"roles", std::move(roles)},
          {"worst", std::move(worst)}};
}

Json values_json(const std::vector<double>& values) {
  Json json = Json::array();
  for (const double value : values) json.push_back(short_number(value));
  return json;
}

Json flip_list_json(const FlipList& list) {
  Json flips = Json::array();
  for (const FlipToRead& f : list.flips) {
    flips.push_back({{"item", f.item},
                     {"kind", flip_name(f.flip.kind)},
                     {"gold", f.flip.gold},
                     {"from", f.flip.from},
                     {"to", f.flip.to},
                     {"margin_from", short_number(f.flip.margin_from)},
                     {"margin_to", short_number(f.flip.margin_to)},
                     {"values_from", values_json(f.values_from)},
                     {"values_to", values_json(f.values_to)}});
  }
  return {{"variant", list.variant},  {"task", list.task},     {"metric", list.metric},
          {"items", list.items},      {"counts", list.counts}, {"left_out", list.left_out},
          {"flips", std::move(flips)}};
}

Json flips_to_read_json(const FlipsToRead& flips) {
  Json items = Json::array(), lists = Json::array();
  for (const AskedItem& item : flips.items) {
    items.push_back({{"task", item.task},
                     {"index", item.index},
                     {"prompt", item.prompt},
                     {"choices", item.choices},
                     {"as_sent", item.as_sent},
                     {"cut", item.cut_bytes}});
  }
  for (const FlipList& list : flips.lists) lists.push_back(flip_list_json(list));
  return {{"items", std::move(items)}, {"lists", std::move(lists)}, {"notes", flips.notes}};
}

Json conditions_json(const std::vector<Condition>& conditions) {
  Json json = Json::array();
  for (const Condition& c : conditions) json.push_back({{"key", c.key}, {"values", c.values}});
  return json;
}

}  // namespace

Json page_json(const ReportPage& page) {
  Json weights = Json::array(), errors = Json::array(), searches = Json::array();
  for (const WeightMap& map : page.weights) weights.push_back(weights_json(map));
  for (const LayerErrors& e : page.errors) errors.push_back(errors_json(e));
  for (const SearchRecord& s : page.searches) searches.push_back(search_page_json(s));
  const Comparison& comparison = page.comparison;
  return {{"title", page.title},
          {"program", page.program},
          {"baseline", comparison.baseline},
          {"margin", json_of_number(comparison.margin)},
          {"runs", runs_json(comparison)},
          {"tasks", tasks_json(comparison)},
          {"pairs", pairs_json(comparison)},
          {"words", page.words},
          {"matrix", matrix_json(page.matrix)},
          {"letters", page.groups.letters},
          {"recommendations", recommendations_json(page.recommendations)},
          {"by_size", frontier_json(page.by_size)},
          {"by_speed", frontier_json(page.by_speed)},
          {"speed", speed_json(comparison)},
          {"distance", distance_json(comparison)},
          {"searches", std::move(searches)},
          {"weights", std::move(weights)},
          {"errors", std::move(errors)},
          {"flips", flips_to_read_json(page.flips)},
          {"conditions", conditions_json(page.conditions)},
          {"comparison_notes", comparison.notes},
          {"notes", page.notes}};
}

}  // namespace qx
