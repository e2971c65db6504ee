// From run folders to everything that `qx compare` shows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compare/gate.h"
#include "compare/render.h"
#include "compare/run_results.h"

namespace qx {

struct CompareRequest {
  std::vector<std::string>
      runs;              // folders RUNS/NAME, or of runs of which only accuracies are known
  std::string baseline;  // by name or folder; empty: the first
  Metric metric = Metric::kDefault;
  double margin = 0.01;    // in accuracy
  bool intersect = false;  // compare the items that all answered
  bool all_pairs = false;
  std::optional<std::string> flips = {};  // of this task; empty: of all
  std::vector<Gate> gates = {};
  std::optional<std::int64_t> budget = {};  // bytes, for the fastest run
};

// What can be said before anything is read. Fails: UsageError.
void check_request(const CompareRequest& request);

// Broken gates are in the result and no error. Fails: as check_request; UsageError for an unknown
// baseline; as load_runs, check_gates and all_flips.
ComparedRuns compare_folders(const CompareRequest& request);

}  // namespace qx
