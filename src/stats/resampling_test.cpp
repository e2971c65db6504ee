// SPDX-License-Identifier: Apache-2.0
#include "stats/resampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"

namespace qx {
namespace {

std::vector<double> normal_values(Random& random, int n, double mean) {
  std::vector<double> values(static_cast<std::size_t>(n));
  for (double& v : values) v = mean + random.gaussian();
  return values;
}

TEST(SignFlip, CountsPatternsByHand) {
  // Of the eight sign patterns of 1, 2, 3, only +++ and --- reach |6|.
  const std::vector<double> values = {1, 2, 3};
  EXPECT_EQ(sign_flip_p(values), 2.0 / 8);
  EXPECT_EQ(sign_flip_p({}), 1);
  EXPECT_EQ(sign_flip_p(std::vector<double>{0, 0}), 1);
}

TEST(SignFlip, DependsOnTheSeedOnlyAndIsNeverZero) {
  Random random(5);
  const std::vector<double> values = normal_values(random, 400, 2);
  const double p = sign_flip_p(values, {1000, 7});
  EXPECT_EQ(p, sign_flip_p(values, {1000, 7}));
  EXPECT_EQ(p, 1.0 / 1001);
}

TEST(SignFlip, KeepsItsLevel) {
  Random random(6);
  constexpr int kRuns = 1000;
  int rejected = 0;
  for (int run = 0; run < kRuns; ++run) {
    const std::vector<double> values = normal_values(random, 60, 0);
    rejected += sign_flip_p(values, {400, random.next()}) < 0.05 ? 1 : 0;
  }
  EXPECT_GT(rejected, kRuns * 0.03);
  EXPECT_LT(rejected, kRuns * 0.07);
}

TEST(Bootstrap, CoversTheMean) {
  Random random(8);
  constexpr int kRuns = 1000;
  int covered = 0;
  for (int run = 0; run < kRuns; ++run) {
    const std::vector<double> values = normal_values(random, 200, 0.3);
    const Interval i = bootstrap_mean_interval(values, 0.95, {500, random.next()});
    covered += i.low <= 0.3 && 0.3 <= i.high ? 1 : 0;
  }
  EXPECT_GT(covered, kRuns * 0.92);
  EXPECT_LT(covered, kRuns * 0.97);
}

TEST(Bootstrap, EdgeCases) {
  EXPECT_TRUE(std::isnan(bootstrap_mean_interval({}, 0.95).low));
  const Interval one = bootstrap_mean_interval(std::vector<double>{2.5}, 0.95);
  EXPECT_EQ(one.low, 2.5);
  EXPECT_EQ(one.high, 2.5);
}

}  // namespace
}  // namespace qx
