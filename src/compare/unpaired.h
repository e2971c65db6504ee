// Runs of which only accuracies are known (imported result files without samples) against another run: the
// test of two proportions, which is weaker than the paired one because it does not know that both answered the
// same items. Formulas: docs/statistics.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "compare/comparison.h"
#include "compare/run_results.h"
#include "io/json.h"

namespace qx {

struct KnownAccuracy {
  double accuracy = 0;
  std::int64_t n = 0;
};

// Accuracies by task and metric ("acc", "acc_norm", ..).
struct AccuracyRun {
  std::string name;
  bool per_item = false;  // made from answers; else all that is known
  std::map<std::string, std::map<std::string, KnownAccuracy>> tasks;
};

// True for a folder that holds results.json and no answers.
bool has_accuracies_only(const std::filesystem::path& folder);

// Reads results.json of a run folder. Fails: Error.
AccuracyRun load_accuracies(const std::filesystem::path& folder);
// Of answers that were loaded: each task under the metric that is compared.
AccuracyRun accuracies_of(const RunResults& run);

struct UnpairedTask {
  std::string task, metric;
  KnownAccuracy baseline, variant;
  double difference = 0;
  Interval interval;                // Newcombe (1998), method 10 for independent proportions, 95 %
  double z = 0, p = 1, p_holm = 1;  // two proportions, pooled; Holm over the tasks of this pair
  Verdict verdict = Verdict::kIndistinguishable;
};

struct UnpairedPair {
  std::string baseline, variant;
  std::vector<UnpairedTask> tasks;
  std::vector<std::string> left_out;  // tasks that one of both lacks
};

// The metric of a task: as asked, else acc_norm where both have it, else acc.
// Fails: Error when no task has an accuracy of the metric in both.
UnpairedPair compare_unpaired(const AccuracyRun& baseline, const AccuracyRun& variant,
                              Metric metric);

Json unpaired_json(const std::vector<UnpairedPair>& pairs);

}  // namespace qx
