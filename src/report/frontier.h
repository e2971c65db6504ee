// Quality against a cost (bytes, or time a token): which variants lie on the Pareto front, and
// which are below it beyond chance.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace qx {

struct FrontierPoint {
  std::size_t run = 0;            // in Comparison::runs
  double cost = 0;                // less is better
  double average = 0;             // macro accuracy over the informative tasks
  std::optional<double> stderr_;  // of average
  // By point estimate: no other variant costs no more and scores no less, one of both strictly.
  bool on_front = false;
  // A variant that costs no more and whose average is shown to be better (the pair's verdict): the
  // first in the order of runs.
  std::optional<std::size_t> beaten_by;
};

// costs: one per run; a run without a finite cost, or without an average, is left out. Rising by
// cost, then by the order of runs.
std::vector<FrontierPoint> find_frontier(const Comparison& comparison,
                                         const std::vector<std::optional<double>>& costs);

}  // namespace qx
