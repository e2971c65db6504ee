// SPDX-License-Identifier: Apache-2.0
#include "distance/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace qx {
namespace {

TEST(Statistics, MeanAndBothErrorsByHand) {
  // Mean 3; deviations -2 0 | 1 1: squares 6, so sqrt(6/4/3); window sums -2 and 2, so sqrt(2 * 8) / 4.
  const std::vector<double> values{1, 3, 4, 4};
  const std::vector<std::int64_t> counts{2, 2};
  const Estimate e = estimate_mean(values, counts);
  EXPECT_DOUBLE_EQ(e.mean, 3);
  EXPECT_DOUBLE_EQ(e.stderr_tokens, std::sqrt(0.5));
  EXPECT_DOUBLE_EQ(e.stderr_windows, 1);
}

TEST(Statistics, WindowsOfDifferentLengthAreARatio) {
  // Mean 2; window sums of deviations: 1 of {3}, -1 of {1, 2}.
  const std::vector<double> values{3, 1, 2};
  const std::vector<std::int64_t> counts{1, 2};
  EXPECT_DOUBLE_EQ(estimate_mean(values, counts).stderr_windows, std::sqrt(2.0 * 2) / 3);
}

TEST(Statistics, TooFewValuesHaveNoError) {
  const std::vector<double> one{5};
  const std::vector<std::int64_t> counts{1};
  const Estimate e = estimate_mean(one, counts);
  EXPECT_EQ(e.mean, 5);
  EXPECT_TRUE(std::isnan(e.stderr_tokens));
  EXPECT_TRUE(std::isnan(e.stderr_windows));
  EXPECT_TRUE(std::isnan(estimate_mean({}, {}).mean));
}

TEST(Statistics, QuantilesInterpolate) {
  const std::vector<double> sorted{0, 10, 20, 40};
  EXPECT_DOUBLE_EQ(quantile(sorted, 0), 0);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.5), 15);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.9), 34);
  EXPECT_DOUBLE_EQ(quantile(sorted, 1), 40);
}

}  // namespace
}  // namespace qx
