// Reads the folders that `qx eval` writes, for comparison.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace qx {

enum class Metric { kDefault, kAcc, kAccNorm, kAccBytes, kAccToken };

// "default" "acc" "acc_norm" "acc_bytes" "acc_token". Default: acc_norm where a task has it, else acc.
// Fails: UsageError.
Metric parse_metric(const std::string& name);

// Loads RUNS/NAME folders; a run is called after its folder. acc_norm, acc_bytes and acc_token fall
// back to acc for tasks without acc_norm. Runs that answered different items of a task (another
// selection, or one is not finished) are refused, unless `intersect`: then only the items that all
// have stay, and a note says so for each task. Fails: Error when a folder holds no run or a broken
// one, or when two runs were made under conditions that forbid a comparison (chat and plain,
// another convention, other few-shot settings). Conditions that may change a score slightly
// (precision, kernels) are returned as notes. Each run is compared with the first that knows the
// condition: imported runs may not. accuracies: folders of runs that are not loaded here, since
// they hold no answers; their conditions must agree as well.
struct LoadedRuns {
  std::vector<RunResults> runs;
  std::vector<std::string> notes;
};
LoadedRuns load_runs(const std::vector<std::filesystem::path>& folders, Metric metric,
                     bool intersect = false,
                     const std::vector<std::filesystem::path>& accuracies = {});

}  // namespace qx
