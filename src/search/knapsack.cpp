// SPDX-License-Identifier: Apache-2.0
#include "search/knapsack.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/interrupt.h"

namespace qx {
namespace {

// An option that may be part of a solution: none other is smaller and costs no more.
struct Step {
  std::size_t option = 0;   // index in the group
  std::int64_t above = 0;   // bytes above the group's smallest option
  std::int64_t weight = 0;  // `above` in units, rounded up
  double cost = 0;
};

std::vector<Step> useful_steps(const KnapsackGroup& group, std::int64_t smallest) {
  std::vector<Step> steps;
  for (std::size_t i = 0; i < group.size(); ++i) {
    steps.push_back({i, group[i].bytes - smallest, 0, group[i].cost});
  }
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) {
    return a.above != b.above ? a.above < b.above : a.cost < b.cost;
  });
  std::vector<Step> kept;
  for (const Step& step : steps) {
    if (kept.empty() || step.cost < kept.back().cost) kept.push_back(step);
  }
  return kept;
}

class Table {
 public:
  Table(std::vector<std::vector<Step>> groups, std::size_t cells)
      : groups_(std::move(groups)), cells_(cells), costs_(cells, 0.0) {
    taken_.resize(groups_.size());
    std::vector<double> next(cells);
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      check_interrupt();
      add_group(g, next);
      costs_.swap(next);
    }
  }

  // Steps by group of the cheapest solution of at most so many units.
  std::vector<const Step*> trace(std::size_t cell) const {
    std::vector<const Step*> out(groups_.size());
    for (std::size_t g = groups_.size(); g-- > 0;) {
      out[g] = &groups_[g][taken_[g][cell]];
      cell -= static_cast<std::size_t>(out[g]->weight);
    }
    return out;
  }

 private:
  void add_group(std::size_t g, std::vector<double>& next) {
    std::fill(next.begin(), next.end(), std::numeric_limits<double>::infinity());
    std::vector<std::uint8_t>& taken = taken_[g];
    taken.assign(cells_, 0);
    for (std::size_t s = 0; s < groups_[g].size(); ++s) {
      const auto weight = static_cast<std::size_t>(groups_[g][s].weight);
      const double cost = groups_[g][s].cost;
      for (std::size_t c = weight; c < cells_; ++c) {
        const double total = costs_[c - weight] + cost;
        if (total < next[c]) {
          next[c] = total;
          taken[c] = static_cast<std::uint8_t>(s);
        }
      }
    }
  }

  std::vector<std::vector<Step>> groups_;
  std::size_t cells_;
  std::vector<double> costs_;  // least cost of the groups so far within so many units
  std::vector<std::vector<std::uint8_t>> taken_;
};

KnapsackSolution read_solution(std::span<const KnapsackGroup> groups,
                               const std::vector<const Step*>& steps) {
  KnapsackSolution out;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const KnapsackOption& option = groups[g][steps[g]->option];
    out.taken.push_back(steps[g]->option);
    out.bytes += option.bytes;
    out.cost += option.cost;
  }
  return out;
}

}  // namespace

KnapsackResult solve_knapsack(std::span<const KnapsackGroup> groups,
                              std::span<const std::int64_t> budgets, std::int64_t most_cells) {
  KnapsackResult out;
  std::vector<std::vector<Step>> steps;
  std::int64_t largest = 0, divisor = 0;
  for (const KnapsackGroup& group : groups) {
    QX_CHECK(!group.empty() && group.size() <= 256);
    const std::int64_t least =
        std::min_element(group.begin(), group.end(), [](const auto& a, const auto& b) {
          return a.bytes < b.bytes;
        })->bytes;
    steps.push_back(useful_steps(group, least));
    out.smallest += least;
    largest += steps.back().back().above;
    for (const Step& step : steps.back()) divisor = std::gcd(divisor, step.above);
  }
  out.unit = std::max<std::int64_t>(1, divisor);
  std::int64_t room = 0;  // above the smallest solution, of the largest budget
  for (const std::int64_t budget : budgets) room = std::max(room, budget - out.smallest);
  room = std::min(room, largest);
  const auto most = std::max<std::int64_t>(
      1, most_cells / std::max<std::int64_t>(1, static_cast<std::int64_t>(groups.size())));
  const std::int64_t factor = (room / out.unit + most) / most;  // 1 where the table fits
  out.exact = factor == 1;
  out.unit *= factor;
  for (auto& group : steps) {
    for (Step& step : group) step.weight = (step.above + out.unit - 1) / out.unit;
  }
  const Table table(std::move(steps), static_cast<std::size_t>(room / out.unit) + 1);
  for (const std::int64_t budget : budgets) {
    if (budget < out.smallest) {
      out.solutions.emplace_back();
      continue;
    }
    const std::int64_t cell = std::min(room, budget - out.smallest) / out.unit;
    out.solutions.push_back(read_solution(groups, table.trace(static_cast<std::size_t>(cell))));
  }
  return out;
}

}  // namespace qx
