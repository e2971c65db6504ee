// Averages of paired differences over several tasks: a test of no difference, an interval and two one-sided
// tests that hold up where a task has few items or none that changed. Formulas and sources:
// docs/statistics.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stats/stats.h"

namespace qx {

// One task of an average sum_t weight_t d_t.
struct TaskDifference {
  PairedCounts counts;                  // n() > 0
  double weight = 1;                    // > 0; 1/k in a macro average, n_t/N in a micro one
  double design_effect = 1;             // >= 1, see tango_bound
  std::vector<std::int64_t> sums = {};  // per passage, won less lost; empty: every item is its own
};

double average_difference(std::span<const TaskDifference> tasks);

// Two-sided test of no difference. One task: its exact test. Else sign flips of what each changed item (or
// passage) adds to the average: sampled (10,000 patterns; all of them up to 16 items) when at most 50
// changed, normal with the variance under the hypothesis above that. 1 when nothing changed.
double average_difference_p(std::span<const TaskDifference> tasks);

// MOVER (Zou and Donner 2008) of the tasks' score intervals; of one task that interval itself.
Interval average_difference_interval(std::span<const TaskDifference> tasks, double confidence);

// Two one-sided tests of |average difference| >= margin by inverting these intervals: the larger p. Of one
// task equivalence_p. 0 < margin < 1.
double average_equivalence_p(std::span<const TaskDifference> tasks, double margin);

}  // namespace qx
