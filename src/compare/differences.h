// The paired difference of two runs on one task, and its average over tasks: what compare_runs() is made of.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compare/comparison.h"
#include "stats/averages.h"

namespace qx {

// The items of one task that every run answered, run by run, in the same order.
struct CommonItems {
  std::vector<std::vector<const ItemResult*>> by_run;
  std::vector<std::int64_t> passages;  // of each item; empty: every item is its own
  std::int64_t left_out = 0;           // items that at least one run lacks
};

// Numbers the passages of by_run's items; items without one get a number of their own. Runs of versions
// that did not record passages take them from the others.
std::vector<std::int64_t> number_passages(const CommonItems& items);
std::int64_t count_passages(const CommonItems& items);  // 0: every item is its own

// One task of a pair, without what depends on the pair's other tasks (p_holm, p_equivalence_holm,
// within_margin, verdict, items_needed). `sums` gets what stats/averages.h calls so.
struct TaskPair {
  Difference difference;
  std::vector<std::int64_t> sums;
};
TaskPair compare_task(const CommonItems& items, std::size_t baseline, std::size_t variant,
                      double baseline_accuracy, double margin);

// gold margins of the variant less the baseline's; nothing when no item has both.
std::optional<MarginShift> margin_shift(const CommonItems& items, std::size_t baseline,
                                        std::size_t variant, std::int64_t rounds);

// `family`: tasks that Holm's correction is over.
std::optional<std::int64_t> more_items(const Difference& difference, double margin,
                                       std::size_t family);

// Without what depends on the other pairs. tasks and differences run alike; not empty.
AverageDifference average_pair(std::span<const TaskDifference> tasks,
                               std::span<const Difference* const> differences, double margin);
std::optional<std::int64_t> more_items(const AverageDifference& average, double margin,
                                       std::size_t family);

}  // namespace qx
