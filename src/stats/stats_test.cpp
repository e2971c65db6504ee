// SPDX-License-Identifier: Apache-2.0
#include "stats/stats.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace qx {
namespace {

TEST(AccuracyStderr, MatchesLmEval) {
  // The golden value of lm-eval's mean_stderr for 600 right of 1172.
  EXPECT_NEAR(accuracy_stderr(600, 1172), 0.0146072203405972, 1e-13);
  EXPECT_TRUE(std::isnan(accuracy_stderr(1, 1)));
}

// Values of statsmodels.stats.proportion.proportion_confint(method="wilson").
TEST(Wilson, KnownValues) {
  const Interval a = wilson_interval(81, 263, 0.95);
  EXPECT_NEAR(a.low, 0.2553, 5e-5);
  EXPECT_NEAR(a.high, 0.3662, 5e-5);
  const Interval zero = wilson_interval(0, 20, 0.95);
  EXPECT_EQ(zero.low, 0);
  EXPECT_NEAR(zero.high, 0.1611, 5e-5);
  EXPECT_EQ(wilson_interval(20, 20, 0.95).high, 1);
  EXPECT_EQ(wilson_interval(0, 0, 0.95).high, 1);
}

TEST(McNemar, ExactByHand) {
  // b = 1, c = 5: 2 (C(6,0) + C(6,1)) / 64 = 14 / 64.
  EXPECT_NEAR(mcnemar_exact({10, 1, 5, 10}), 14.0 / 64, 1e-14);
  EXPECT_NEAR(mcnemar_exact({10, 5, 1, 10}), 14.0 / 64, 1e-14);
  EXPECT_EQ(mcnemar_exact({10, 3, 3, 10}), 1);
  EXPECT_EQ(mcnemar_exact({10, 0, 0, 10}), 1);
  EXPECT_NEAR(mcnemar_exact({0, 0, 10, 0}), 2.0 / 1024, 1e-15);
}

// Newcombe (1998), Statistics in Medicine 17:2635, the quantities of method 10 worked by hand for
// the table a = 36, b = 12, c = 2, d = 0: phi's numerator is -24 and stays as it is.
TEST(Newcombe, PublishedExample) {
  const Interval i = newcombe_paired_interval({36, 2, 12, 0}, 0.95);
  EXPECT_NEAR(i.low, 0.0569, 1e-4);
  EXPECT_NEAR(i.high, 0.3404, 1e-4);
}

TEST(Newcombe, SignFollowsTheVariantAndSwapsWithTheRoles) {
  const Interval up = newcombe_paired_interval({50, 5, 20, 25}, 0.95);
  const Interval down = newcombe_paired_interval({50, 20, 5, 25}, 0.95);
  EXPECT_GT(up.low, 0);
  EXPECT_NEAR(up.low, -down.high, 1e-14);
  EXPECT_NEAR(up.high, -down.low, 1e-14);
}

// Frequency with which the interval holds the true difference, at the discordance of real runs.
TEST(Newcombe, CoversNinetyFivePercent) {
  Random random(11);
  constexpr int kRuns = 4000, kItems = 300;
  const double right_to_wrong = 0.08, wrong_to_right = 0.05, both_right = 0.45;
  int covered = 0;
  for (int run = 0; run < kRuns; ++run) {
    PairedCounts t;
    for (int i = 0; i < kItems; ++i) {
      const double u = random.uniform();
      if (u < both_right) {
        ++t.both_right;
      } else if (u < both_right + right_to_wrong) {
        ++t.right_to_wrong;
      } else if (u < both_right + right_to_wrong + wrong_to_right) {
        ++t.wrong_to_right;
      } else {
        ++t.both_wrong;
      }
    }
    const Interval i = newcombe_paired_interval(t, 0.95);
    const double truth = wrong_to_right - right_to_wrong;
    covered += i.low <= truth && truth <= i.high ? 1 : 0;
  }
  EXPECT_GT(covered, kRuns * 0.94);
  EXPECT_LT(covered, kRuns * 0.97);
}

TEST(Holm, StepDown) {
  const double p[] = {0.01, 0.04, 0.03, 0.005};
  const std::vector<double> adjusted = holm_adjust(p);
  EXPECT_NEAR(adjusted[0], 0.03, 1e-15);
  EXPECT_NEAR(adjusted[1], 0.06, 1e-15);
  EXPECT_NEAR(adjusted[2], 0.06, 1e-15);
  EXPECT_NEAR(adjusted[3], 0.02, 1e-15);
  EXPECT_TRUE(holm_adjust({}).empty());
}

TEST(PairedStderr, EqualsTheSampleDeviationOfTheDifferences) {
  const PairedCounts t{3, 2, 4, 1};
  double sum = 2.0 * -1 + 4.0, squares = 6, n = 10;
  const double variance = (squares - sum * sum / n) / (n - 1);
  EXPECT_NEAR(paired_difference_stderr(t), std::sqrt(variance / n), 1e-15);
}

TEST(MinimumDetectable, SolvesConnorsFormula) {
  const PairedCounts t{500, 60, 40, 400};
  const double d = minimum_detectable_difference(t, 0.05, 0.8);
  const double psi = 0.1;
  const double root =
      1.959963984540054 * std::sqrt(psi) + 0.8416212335729143 * std::sqrt(psi - d * d);
  EXPECT_NEAR(root * root / (d * d), 1000, 1e-6);
  EXPECT_TRUE(std::isnan(minimum_detectable_difference({5, 0, 0, 5}, 0.05, 0.8)));
}

TEST(ItemsNeeded, InvertsTheDetectableDifference) {
  const PairedCounts t{500, 60, 40, 400};
  const double d = minimum_detectable_difference(t, 0.05, 0.8);
  EXPECT_NEAR(items_needed(d, 0.1, 0.05, 0.8), 1000, 1e-6);
  EXPECT_NEAR(items_needed(-d, 0.1, 0.05, 0.8), 1000, 1e-6);
  EXPECT_TRUE(std::isnan(items_needed(0, 0.1, 0.05, 0.8)));
  EXPECT_TRUE(std::isnan(items_needed(0.2, 0.1, 0.05, 0.8)));
}

TEST(NormalP, KnownValue) {
  EXPECT_NEAR(two_sided_normal_p(-1.959963984540054), 0.05, 1e-14);
}

}  // namespace
}  // namespace qx
