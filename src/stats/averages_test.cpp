// SPDX-License-Identifier: Apache-2.0
#include "stats/averages.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "stats/equivalence.h"

namespace qx {
namespace {

TEST(Average, OfOneTaskIsThatTask) {
  const PairedCounts counts{500, 60, 40, 400};
  const std::vector<TaskDifference> one = {{counts, 1, 1}};
  EXPECT_EQ(average_difference(one), -0.02);
  EXPECT_EQ(average_difference_p(one), mcnemar_exact(counts));
  const Interval average = average_difference_interval(one, 0.95);
  const Interval task = tango_interval(counts, 0.95);
  EXPECT_NEAR(average.low, task.low, 1e-12);
  EXPECT_NEAR(average.high, task.high, 1e-12);
  EXPECT_NEAR(average_equivalence_p(one, 0.03), equivalence_p(counts, 0.03), 1e-9);
}

// What a Wald interval gets wrong: where nothing changed it has no width, however few the items.
TEST(Average, NothingChangedIsNotCertainty) {
  const std::vector<TaskDifference> few = {{{5, 0, 0, 5}, 0.5}, {{4, 0, 0, 6}, 0.5}};
  EXPECT_EQ(average_difference_p(few), 1);
  EXPECT_LT(average_difference_interval(few, 0.95).low, -0.1);
  EXPECT_GT(average_equivalence_p(few, 0.01), 0.3);
  const std::vector<TaskDifference> many = {{{500, 0, 0, 500}, 0.5}, {{400, 0, 0, 600}, 0.5}};
  EXPECT_LT(average_equivalence_p(many, 0.01), 0.001);
}

TEST(Average, EverythingChangedIsADifference) {
  const std::vector<TaskDifference> won = {{{0, 0, 300, 0}, 0.5}, {{0, 0, 300, 0}, 0.5}};
  EXPECT_EQ(average_difference(won), 1);
  EXPECT_LT(average_difference_p(won), 1e-10);
  EXPECT_EQ(average_equivalence_p(won, 0.01), 1);
  const Interval interval = average_difference_interval(won, 0.95);
  EXPECT_TRUE(interval.low > 0.9 && interval.high <= 1) << interval.low << " " << interval.high;
  // Two items of two are no proof.
  const std::vector<TaskDifference> two = {{{0, 0, 2, 0}, 0.5}, {{0, 0, 2, 0}, 0.5}};
  EXPECT_EQ(average_difference_p(two), 2.0 / 16);
}

TEST(Average, MirrorsWithTheRoles) {
  const std::vector<TaskDifference> up = {{{50, 5, 20, 25}, 0.5}, {{30, 9, 11, 50}, 0.5}};
  const std::vector<TaskDifference> down = {{{50, 20, 5, 25}, 0.5}, {{30, 11, 9, 50}, 0.5}};
  const Interval a = average_difference_interval(up, 0.9);
  const Interval b = average_difference_interval(down, 0.9);
  EXPECT_NEAR(a.low, -b.high, 1e-10);
  EXPECT_NEAR(a.high, -b.low, 1e-10);
  EXPECT_NEAR(average_equivalence_p(up, 0.05), average_equivalence_p(down, 0.05), 1e-10);
}

TEST(Average, PassagesCountForLess) {
  const PairedCounts counts{50, 20, 40, 50};
  const std::vector<TaskDifference> items = {{counts, 0.5}, {{70, 4, 6, 20}, 0.5}};
  std::vector<TaskDifference> passages = items;
  // The same changes in passages of four that go one way together.
  passages[0].sums = {4, 4, 4, 4, 4, 4, 4, 4, 4, 4, -4, -4, -4, -4, -4};
  passages[0].design_effect = 4;
  EXPECT_GT(average_difference_p(passages), average_difference_p(items));
  EXPECT_LT(average_difference_interval(passages, 0.95).low,
            average_difference_interval(items, 0.95).low);
}

struct Shares {
  double lost, won;
};

PairedCounts simulate(const Shares& shares, int items, Random& random) {
  PairedCounts t;
  for (int i = 0; i < items; ++i) {
    const double u = random.uniform();
    ++(u < shares.lost                ? t.right_to_wrong
       : u < shares.lost + shares.won ? t.wrong_to_right
                                      : t.both_right);
  }
  return t;
}

// Tasks of different sizes and discordance, as of real runs: the interval covers what it says, a true
// average of zero is found a difference in at most about 5 %, one of the margin equivalent likewise.
TEST(Average, CoversAndKeepsItsLevels) {
  Random random(11);
  constexpr int kRuns = 2000;
  const Shares shares[] = {{0.05, 0.05}, {0.10, 0.08}, {0.02, 0.04}};
  const int items[] = {300, 100, 1200};
  const double truth = (0.0 - 0.02 + 0.02) / 3, margin = 0.01;
  const Shares lower[] = {{0.06, 0.05}, {0.10, 0.09}, {0.04, 0.03}};  // each 0.01 down
  int covered = 0, differing = 0, equivalent = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<TaskDifference> tasks, at_margin;
    for (std::size_t t = 0; t < 3; ++t) {
      tasks.push_back({simulate(shares[t], items[t], random), 1.0 / 3});
      at_margin.push_back({simulate(lower[t], 4 * items[t], random), 1.0 / 3});
    }
    const Interval i = average_difference_interval(tasks, 0.95);
    covered += i.low <= truth && truth <= i.high ? 1 : 0;
    differing += average_difference_p(tasks) < 0.05 ? 1 : 0;
    if (run % 4 == 0) equivalent += average_equivalence_p(at_margin, margin) < 0.05 ? 1 : 0;
  }
  EXPECT_GT(covered, kRuns * 0.94);
  EXPECT_LT(covered, kRuns * 0.96);
  EXPECT_LT(differing, kRuns * 0.06);
  EXPECT_GT(differing, kRuns * 0.03);
  EXPECT_LT(equivalent, kRuns / 4 * 0.075);
}

}  // namespace
}  // namespace qx
