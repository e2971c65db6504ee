// SPDX-License-Identifier: Apache-2.0
#include "compare/unpaired.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "runs/run_record.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr const char* kMetrics[] = {"acc", "acc_norm", "acc_bytes", "acc_token"};

std::int64_t count_right(const KnownAccuracy& a) {
  return std::llround(a.accuracy * static_cast<double>(a.n));
}

// Newcombe's hybrid of two Wilson intervals for independent proportions: Newcombe (1998), Statistics in
// Medicine 17:873, method 10.
Interval newcombe_interval(const KnownAccuracy& a, const KnownAccuracy& b) {
  const Interval wa = wilson_interval(count_right(a), a.n, kConfidence);
  const Interval wb = wilson_interval(count_right(b), b.n, kConfidence);
  const double d = b.accuracy - a.accuracy;
  return {d - std::hypot(b.accuracy - wb.low, wa.high - a.accuracy),
          d + std::hypot(wb.high - b.accuracy, a.accuracy - wa.low)};
}

std::optional<std::string> metric_of(const std::map<std::string, KnownAccuracy>& a,
                                     const std::map<std::string, KnownAccuracy>& b, Metric metric) {
  const auto both = [&](const char* name) { return a.contains(name) && b.contains(name); };
  const char* wanted = metric == Metric::kAcc        ? "acc"
                       : metric == Metric::kAccBytes ? "acc_bytes"
                       : metric == Metric::kAccToken ? "acc_token"
                                                     : "acc_norm";
  if (both(wanted)) return wanted;
  // A task that has acc_norm in one run is not compared by acc: that would be another question.
  const bool has_norm = a.contains("acc_norm") || b.contains("acc_norm");
  if (!has_norm && both("acc")) return "acc";
  return std::nullopt;
}

}  // namespace

bool has_accuracies_only(const fs::path& folder) {
  if (!fs::exists(folder / "results.json") || !fs::exists(folder / "run.json")) return false;
  const fs::directory_iterator entries(folder);
  return std::none_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    return entry.path().filename().string().starts_with("answers-");
  });
}

AccuracyRun load_accuracies(const fs::path& folder) {
  const std::string place = (folder / "results.json").string();
  const Json json = read_json_file(folder / "results.json");
  if (!json.is_object() || !json.contains("results") || !json["results"].is_object()) {
    fail(place, "expected an object with 'results'");
  }
  AccuracyRun run{run_name(folder), false, {}};
  for (const auto& [task, entry] : json["results"].items()) {
    const std::string at = fmt::format("{}: {}", place, task);
    if (!entry.is_object()) fail(at, "got {}, expected an object", entry.type_name());
    const std::int64_t n = json_int(entry, "sample_len", at);
    if (n < 1) fail(at, "key 'sample_len': got {}, expected at least 1", n);
    for (const char* metric : kMetrics) {
      const std::string key = std::string(metric) + ",none";
      if (!entry.contains(key)) continue;
      const double accuracy = json_number(entry, key, at);
      if (!(accuracy >= 0 && accuracy <= 1)) {
        fail(at, "key '{}': got {}, expected 0 to 1", key, accuracy);
      }
      run.tasks[task][metric] = {accuracy, n};
    }
  }
  return run;
}

AccuracyRun accuracies_of(const RunResults& run) {
  AccuracyRun result{run.name, true, {}};
  for (const auto& [task, results] : run.tasks) {
    const auto n = static_cast<std::int64_t>(results.items.size());
    const auto right = std::count_if(results.items.begin(), results.items.end(),
                                     [](const ItemResult& item) { return item.right; });
    result.tasks[task][results.metric] = {static_cast<double>(right) / static_cast<double>(n), n};
  }
  return result;
}

UnpairedPair compare_unpaired(const AccuracyRun& baseline, const AccuracyRun& variant,
                              Metric metric) {
  UnpairedPair pair{baseline.name, variant.name, {}, {}};
  std::vector<double> p_values;
  for (const auto& [task, known] : baseline.tasks) {
    const auto other = variant.tasks.find(task);
    const auto name =
        other == variant.tasks.end() ? std::nullopt : metric_of(known, other->second, metric);
    if (!name) {
      pair.left_out.push_back(task);
      continue;
    }
    UnpairedTask t{task, *name, known.at(*name), other->second.at(*name), 0, {}, 0, 1, 1, {}};
    t.difference = t.variant.accuracy - t.baseline.accuracy;
    t.interval = newcombe_interval(t.baseline, t.variant);
    t.z = two_proportion_z(t.baseline.accuracy, t.baseline.n, t.variant.accuracy, t.variant.n);
    t.p = two_sided_normal_p(t.z);
    p_values.push_back(t.p);
    pair.tasks.push_back(t);
  }
  if (pair.tasks.empty()) {
    fail("compare", "{} and {} have no task with an accuracy of the same metric", baseline.name,
         variant.name);
  }
  const std::vector<double> adjusted = holm_adjust(p_values);
  for (std::size_t t = 0; t < pair.tasks.size(); ++t) {
    pair.tasks[t].p_holm = adjusted[t];
    pair.tasks[t].verdict = decide_verdict(adjusted[t], pair.tasks[t].difference);
  }
  return pair;
}

Json unpaired_json(const std::vector<UnpairedPair>& pairs) {
  Json json = Json::array();
  for (const UnpairedPair& pair : pairs) {
    Json entry{{"baseline", pair.baseline},
               {"variant", pair.variant},
               {"test", "two proportions"},
               {"tasks", Json::array()},
               {"left_out", pair.left_out}};
    for (const UnpairedTask& t : pair.tasks) {
      entry["tasks"].push_back({{"task", t.task},
                                {"metric", t.metric},
                                {"baseline_acc", t.baseline.accuracy},
                                {"baseline_n", t.baseline.n},
                                {"acc", t.variant.accuracy},
                                {"n", t.variant.n},
                                {"diff", t.difference},
                                {"diff_ci", Json::array({t.interval.low, t.interval.high})},
                                {"z", t.z},
                                {"p", t.p},
                                {"p_holm", t.p_holm},
                                {"verdict", verdict_name(t.verdict)}});
    }
    json.push_back(std::move(entry));
  }
  return json;
}

}  // namespace qx
