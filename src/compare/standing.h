// How runs that one chooses among stand to each other within some tasks. A verdict of compare_runs()
// holds for its pair; here several pairs are looked at for one answer, so a difference on a task
// counts only if it also survives Holm's correction over all of them (docs/statistics.md,
// "Recommendation").
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <set>
#include <utility>
#include <vector>

#include "compare/comparison.h"

namespace qx {

using Runs = std::vector<std::size_t>;  // positions in Comparison::runs

// Tasks without information, which averages leave out, on which the pair's variant is worse.
std::vector<std::size_t> tasks_lost(const Comparison& comparison, const PairSummary& pair);

// The runs one chooses among: the variants, and the baseline too when there is only one variant.
Runs candidates(const Comparison& comparison);

// What a choice is made by: some tasks (positions), and the average where it is about all of them.
// Refers to the comparison that it was made from.
struct Scope {
  std::vector<std::size_t> tasks;
  // Tasks without information. They count against a run that is worse there than another and than
  // the baseline (one that fell to a single answer lost something), and for none.
  std::vector<std::size_t> left_out;
  bool average = false;
  // Differences on a task that are shown for their pair alone.
  std::set<std::pair<const PairSummary*, std::size_t>> unsure;
};

// tasks: positions of those that the scope is about, with information or without.
Scope make_scope(const Comparison& comparison, const std::vector<std::size_t>& tasks, bool average);

// What the verdicts within a scope say as a whole, as seen from run `a`.
enum class Standing { kAhead, kBehind, kMixed, kEquivalent, kUndecided };
Standing standing(const Comparison& comparison, const Scope& scope, std::size_t a, std::size_t b);

}  // namespace qx
