// SPDX-License-Identifier: Apache-2.0
#include "search/knapsack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "base/random.h"

namespace qx {
namespace {

std::vector<KnapsackGroup> random_groups(Random& random, std::size_t groups, std::int64_t unit) {
  std::vector<KnapsackGroup> out(groups);
  for (KnapsackGroup& group : out) {
    const std::size_t options = 1 + random.below(5);
    for (std::size_t i = 0; i < options; ++i) {
      group.push_back({unit * static_cast<std::int64_t>(1 + random.below(40)), random.uniform()});
    }
  }
  return out;
}

// Every combination. Infinity where none fits.
double brute_force(const std::vector<KnapsackGroup>& groups, std::int64_t budget) {
  std::vector<std::size_t> at(groups.size(), 0);
  double best = std::numeric_limits<double>::infinity();
  while (true) {
    std::int64_t bytes = 0;
    double cost = 0;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      bytes += groups[g][at[g]].bytes;
      cost += groups[g][at[g]].cost;
    }
    if (bytes <= budget) best = std::min(best, cost);
    std::size_t g = 0;
    while (g < groups.size() && ++at[g] == groups[g].size()) at[g++] = 0;
    if (g == groups.size()) return best;
  }
}

// A lower bound for any budget: min over options of cost + price * bytes, minus price * budget,
// the best of many prices (Lagrangian relaxation).
double lagrange_bound(const std::vector<KnapsackGroup>& groups, std::int64_t budget) {
  double best = -std::numeric_limits<double>::infinity();
  for (double price = 1e-12; price < 1; price *= 1.02) {
    double sum = -price * static_cast<double>(budget);
    for (const KnapsackGroup& group : groups) {
      double least = std::numeric_limits<double>::infinity();
      for (const KnapsackOption& o : group) {
        least = std::min(least, o.cost + price * static_cast<double>(o.bytes));
      }
      sum += least;
    }
    best = std::max(best, sum);
  }
  return best;
}

void expect_consistent(const std::vector<KnapsackGroup>& groups, const KnapsackSolution& s,
                       std::int64_t budget) {
  std::int64_t bytes = 0;
  double cost = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    bytes += groups[g].at(s.taken.at(g)).bytes;
    cost += groups[g].at(s.taken.at(g)).cost;
  }
  EXPECT_EQ(s.bytes, bytes);
  EXPECT_DOUBLE_EQ(s.cost, cost);
  EXPECT_LE(s.bytes, budget);
}

TEST(Knapsack, EqualsEveryCombinationOfSmallProblems) {
  Random random(7);
  for (int round = 0; round < 200; ++round) {
    const auto groups = random_groups(random, 1 + random.below(6), round % 2 == 0 ? 1 : 96);
    std::vector<std::int64_t> budgets;
    for (std::int64_t b = 0; b < 40 * 6 * 96; b += round % 2 == 0 ? 3 : 211) budgets.push_back(b);
    const KnapsackResult result = solve_knapsack(groups, budgets);
    EXPECT_TRUE(result.exact);
    for (std::size_t i = 0; i < budgets.size(); i += 7) {
      const double expected = brute_force(groups, budgets[i]);
      ASSERT_EQ(result.solutions[i].has_value(), std::isfinite(expected)) << budgets[i];
      if (!result.solutions[i]) {
        EXPECT_LT(budgets[i], result.smallest);
        continue;
      }
      EXPECT_NEAR(result.solutions[i]->cost, expected, 1e-12) << budgets[i];
      expect_consistent(groups, *result.solutions[i], budgets[i]);
    }
  }
}

TEST(Knapsack, StaysAboveLagrangesBoundAndCloseToIt) {
  Random random(8);
  std::vector<KnapsackGroup> groups;
  for (int g = 0; g < 200; ++g) {
    const double scale = std::exp(random.gaussian());
    KnapsackGroup group;
    for (const std::int64_t bits : {2, 3, 4, 5, 6, 8}) {
      group.push_back({bits * 4096 * static_cast<std::int64_t>(1 + g % 3),
                       scale * std::pow(4.0, -static_cast<double>(bits))});
    }
    groups.push_back(group);
  }
  const std::int64_t budget = 4096 * 2 * 200 * 4;
  const KnapsackResult result = solve_knapsack(groups, std::span(&budget, 1));
  ASSERT_TRUE(result.solutions[0].has_value());
  expect_consistent(groups, *result.solutions[0], budget);
  const double bound = lagrange_bound(groups, budget);
  EXPECT_GE(result.solutions[0]->cost, bound * (1 - 1e-9));
  EXPECT_LE(result.solutions[0]->cost, bound * 1.02);
}

TEST(Knapsack, RoundsUpWhereTheTableWouldBeTooLarge) {
  Random random(9);
  const auto groups = random_groups(random, 6, 97);
  std::vector<std::int64_t> budgets;
  for (std::int64_t b = 97 * 6; b < 97 * 240; b += 97 * 5) budgets.push_back(b);
  const KnapsackResult exact = solve_knapsack(groups, budgets);
  const KnapsackResult coarse = solve_knapsack(groups, budgets, 6 * 20);
  EXPECT_TRUE(exact.exact);
  EXPECT_FALSE(coarse.exact);
  EXPECT_GT(coarse.unit, exact.unit);
  for (std::size_t i = 0; i < budgets.size(); ++i) {
    ASSERT_EQ(coarse.solutions[i].has_value(), exact.solutions[i].has_value());
    if (!coarse.solutions[i]) continue;
    expect_consistent(groups, *coarse.solutions[i], budgets[i]);
    EXPECT_GE(coarse.solutions[i]->cost, exact.solutions[i]->cost - 1e-12);
  }
}

TEST(Knapsack, BudgetsBelowTheSmallestAndFarAboveTheLargest) {
  const std::vector<KnapsackGroup> groups{{{10, 3.0}, {20, 1.0}, {30, 2.0}}, {{5, 1.0}, {7, 0.5}}};
  const std::vector<std::int64_t> budgets{14, 15, 1'000'000'000'000};
  const KnapsackResult result = solve_knapsack(groups, budgets);
  EXPECT_EQ(result.smallest, 15);
  EXPECT_FALSE(result.solutions[0].has_value());
  EXPECT_EQ(result.solutions[1]->cost, 4.0);
  // The dearer of two costs is never taken because it is larger.
  EXPECT_EQ(result.solutions[2]->taken, (std::vector<std::size_t>{1, 1}));
  EXPECT_EQ(result.solutions[2]->bytes, 27);
}

}  // namespace
}  // namespace qx
