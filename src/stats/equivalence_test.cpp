// SPDX-License-Identifier: Apache-2.0
#include "stats/equivalence.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace qx {
namespace {

struct AllShares {
  double lost, won, both_right;
};

PairedCounts simulate_all(const AllShares& shares, int items, Random& random) {
  PairedCounts t;
  for (int i = 0; i < items; ++i) {
    const double u = random.uniform();
    if (u < shares.lost) {
      ++t.right_to_wrong;
    } else if (u < shares.lost + shares.won) {
      ++t.wrong_to_right;
    } else if (u < shares.lost + shares.won + shares.both_right) {
      ++t.both_right;
    } else {
      ++t.both_wrong;
    }
  }
  return t;
}

TEST(Tango, IsMcNemarsStatisticAtNoDifference) {
  EXPECT_NEAR(tango_statistic({10, 9, 16, 5}, 0), 7 / std::sqrt(25.0), 1e-12);
  EXPECT_EQ(tango_statistic({10, 0, 0, 5}, 0), 0);
}

TEST(Tango, SwapsWithTheRoles) {
  const PairedCounts up{50, 5, 20, 25}, down{50, 20, 5, 25};
  EXPECT_NEAR(tango_statistic(up, 0.07), -tango_statistic(down, -0.07), 1e-12);
  const Interval a = tango_interval(up, 0.95), b = tango_interval(down, 0.95);
  EXPECT_NEAR(a.low, -b.high, 1e-12);
  EXPECT_NEAR(a.high, -b.low, 1e-12);
}

TEST(Tango, BoundsAreWhereTheStatisticReachesTheQuantile) {
  const PairedCounts t{500, 60, 40, 400};
  const Interval i = tango_interval(t, 0.95);
  EXPECT_NEAR(tango_statistic(t, i.low), 1.959963984540054, 1e-9);
  EXPECT_NEAR(tango_statistic(t, i.high), -1.959963984540054, 1e-9);
}

TEST(Tango, ExtremeTablesGiveFiniteBounds) {
  for (const PairedCounts& t :
       {PairedCounts{0, 0, 0, 1}, PairedCounts{1, 0, 0, 0}, PairedCounts{0, 1, 0, 0},
        PairedCounts{0, 0, 1, 0}, PairedCounts{300, 0, 0, 0}, PairedCounts{0, 300, 0, 0}}) {
    const Interval i = tango_interval(t, 0.95);
    EXPECT_TRUE(i.low >= -1 && i.low <= i.high && i.high <= 1) << i.low << " " << i.high;
  }
  EXPECT_EQ(tango_interval({}, 0.95).low, -1);
  EXPECT_EQ(equivalence_p({}, 0.01), 1);
}

// At the discordance of real runs of one model's variants, for few and many items.
TEST(Tango, CoversNinetyFivePercent) {
  Random random(17);
  constexpr int kRuns = 3000;
  for (const auto& [shares, items] :
       {std::pair{AllShares{0.08, 0.05, 0.45}, 300}, std::pair{AllShares{0.02, 0.02, 0.60}, 1200},
        std::pair{AllShares{0.15, 0.12, 0.30}, 100}}) {
    int covered = 0;
    for (int run = 0; run < kRuns; ++run) {
      const Interval i = tango_interval(simulate_all(shares, items, random), 0.95);
      const double truth = shares.won - shares.lost;
      covered += i.low <= truth && truth <= i.high ? 1 : 0;
    }
    EXPECT_GT(covered, kRuns * 0.94) << items;
    EXPECT_LT(covered, kRuns * 0.96) << items;
  }
}

// At a true difference of exactly the margin, "equivalent" is claimed at most about as often as the
// level says.
TEST(Equivalence, KeepsItsLevelAtTheMargin) {
  Random random(3);
  constexpr int kRuns = 3000;
  int claimed = 0;
  for (int run = 0; run < kRuns; ++run) {
    const PairedCounts t = simulate_all({0.05, 0.04, 0.5}, 3000, random);
    claimed += equivalence_p(t, 0.01) < 0.05 ? 1 : 0;
  }
  EXPECT_LT(claimed, kRuns * 0.065);
  EXPECT_GT(claimed, kRuns * 0.02);  // and it can be claimed at all
}

TEST(Equivalence, MoreItemsOrAWiderMarginShowMore) {
  const PairedCounts few{50, 2, 2, 46}, many{5000, 200, 200, 4600};
  EXPECT_GT(equivalence_p(few, 0.01), 0.05);
  EXPECT_LT(equivalence_p(many, 0.01), 0.05);
  EXPECT_LT(equivalence_p(few, 0.10), equivalence_p(few, 0.01));
  // Much better is not worse, and not equivalent.
  const PairedCounts better{500, 10, 60, 430};
  EXPECT_LT(noninferiority_p(better, 0.01), 0.001);
  EXPECT_GT(equivalence_p(better, 0.01), 0.5);
}

TEST(Tango, ADesignEffectWidensAndWeakens) {
  const PairedCounts t{500, 60, 40, 400};
  const Interval plain = tango_interval(t, 0.95), wide = tango_interval(t, 0.95, 2);
  EXPECT_LT(wide.low, plain.low);
  EXPECT_GT(wide.high, plain.high);
  EXPECT_NEAR(tango_statistic(t, wide.low) / std::sqrt(2), 1.959963984540054, 1e-9);
  EXPECT_GT(equivalence_p(t, 0.05, 2), equivalence_p(t, 0.05));
  EXPECT_EQ(tango_bound(t, 0), -0.02);
}

// As many items as the formula says show equivalence about as often as it says.
TEST(Equivalence, ItemsGiveThePowerTheyAreAskedFor) {
  Random random(23);
  for (const double truth : {0.0, 0.01}) {
    const double items = items_for_equivalence(truth, 0.10, 0.03, 0.05, 0.80);
    int shown = 0;
    constexpr int kRuns = 1000;
    for (int run = 0; run < kRuns; ++run) {
      const AllShares shares{0.05 - truth / 2, 0.05 + truth / 2, 0.5};
      const PairedCounts t = simulate_all(shares, static_cast<int>(items), random);
      shown += equivalence_p(t, 0.03) < 0.05 ? 1 : 0;
    }
    EXPECT_NEAR(shown, kRuns * 0.80, kRuns * 0.05) << truth << " " << items;
  }
  EXPECT_TRUE(std::isnan(items_for_equivalence(0.02, 0.1, 0.02, 0.05, 0.8)));
  EXPECT_TRUE(std::isnan(items_for_equivalence(0.02, 0.01, 0.05, 0.05, 0.8)));
}

}  // namespace
}  // namespace qx
