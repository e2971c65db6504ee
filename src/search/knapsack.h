// The multiple-choice knapsack: one option of every group, the least total cost within a budget of
// bytes. Solved exactly, for all budgets at once, by the dynamic program over budgets (Kellerer,
// Pferschy, Pisinger, "Knapsack Problems", 2004, section 11.5). Sizes of quantized tensors have a
// large common divisor, so the table is small where an integer program takes many seconds
// (docs/search.md has the times).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace qx {

struct KnapsackOption {
  std::int64_t bytes = 0;
  double cost = 0;  // finite
};
using KnapsackGroup = std::vector<KnapsackOption>;  // at least one option

struct KnapsackSolution {
  std::vector<std::size_t> taken;  // by group: the index of its option
  std::int64_t bytes = 0;
  double cost = 0;  // the sum in the order of the groups
};

struct KnapsackResult {
  // By budget; nothing where even the smallest options exceed it. Of solutions of equal cost the
  // one that the first option of least bytes leads to: the same on every machine.
  std::vector<std::optional<KnapsackSolution>> solutions;
  std::int64_t smallest = 0;  // bytes that no solution is below
  // Sizes are counted in units of so many bytes above each group's smallest option. Where the common
  // divisor would make the table larger than `most_cells`, sizes are rounded up to a larger unit:
  // solutions stay within their budgets, but a better one may have been missed.
  std::int64_t unit = 1;
  bool exact = true;
};

constexpr std::int64_t kMostKnapsackCells = std::int64_t{1} << 28;  // groups times units

KnapsackResult solve_knapsack(std::span<const KnapsackGroup> groups,
                              std::span<const std::int64_t> budgets,
                              std::int64_t most_cells = kMostKnapsackCells);

}  // namespace qx
