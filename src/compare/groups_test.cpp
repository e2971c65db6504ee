// SPDX-License-Identifier: Apache-2.0
#include "compare/groups.h"

#include <gtest/gtest.h>

#include "compare/test_runs.h"
#include "compare/words.h"

namespace qx {
namespace {

using Groups2 = std::vector<std::vector<std::size_t>>;

// A comparison of which only names, averages and the averages' verdicts are filled in. told: pairs (a, b)
// where a is worse than b.
Comparison comparison_of(const std::vector<double>& averages,
                         const std::vector<std::pair<std::size_t, std::size_t>>& told) {
  Comparison c;
  for (std::size_t r = 0; r < averages.size(); ++r) {
    c.runs.emplace_back();
    c.runs.back().name = "T" + std::to_string(r + 1);
    c.runs.back().average = averages[r];
  }
  for (std::size_t a = 0; a < averages.size(); ++a) {
    for (std::size_t b = a + 1; b < averages.size(); ++b) {
      PairSummary pair{a, b, {}, AverageDifference{}, {}};
      for (const auto& [worse, better] : told) {
        if (worse == a && better == b) pair.average->verdict = Verdict::kBetter;
        if (worse == b && better == a) pair.average->verdict = Verdict::kWorse;
      }
      (a == 0 ? c.against_baseline : c.between_variants).push_back(pair);
    }
  }
  return c;
}

TEST(Groups, TheMatrixMirrors) {
  const Comparison c = comparison_of({0.6, 0.5, 0.4}, {{2, 0}});
  const VerdictMatrix m = verdict_matrix(c);
  EXPECT_FALSE(m[1][1]);
  EXPECT_EQ(m[2][0], Verdict::kWorse);
  EXPECT_EQ(m[0][2], Verdict::kBetter);
  EXPECT_EQ(m[0][1], Verdict::kIndistinguishable);
}

TEST(Groups, OverlapWhereTheMiddleIsToldApartFromNeither) {
  const Groups g = find_groups(comparison_of({0.4, 0.5, 0.6}, {{0, 2}}));
  EXPECT_EQ(g.groups, (Groups2{{2, 1}, {1, 0}}));
  EXPECT_EQ(g.letters, (std::vector<std::string>{"b", "ab", "a"}));
}

TEST(Groups, AllTheSameAndAllDifferent) {
  const Groups same = find_groups(comparison_of({0.5, 0.5, 0.5}, {}));
  EXPECT_EQ(same.groups, (Groups2{{0, 1, 2}}));
  const Groups apart = find_groups(comparison_of({0.3, 0.5, 0.4}, {{0, 1}, {0, 2}, {2, 1}}));
  EXPECT_EQ(apart.groups, (Groups2{{1}, {2}, {0}}));
  EXPECT_EQ(apart.letters, (std::vector<std::string>{"c", "a", "b"}));
}

// Each run is like its neighbours only: the last one alone would be no group of its own.
TEST(Groups, AChainIsPairs) {
  std::vector<std::pair<std::size_t, std::size_t>> told;
  for (std::size_t a = 0; a < 5; ++a) {
    for (std::size_t b = a + 2; b < 5; ++b) told.emplace_back(b, a);
  }
  const Groups g = find_groups(comparison_of({5, 4, 3, 2, 1}, told));
  EXPECT_EQ(g.groups, (Groups2{{0, 1}, {1, 2}, {2, 3}, {3, 4}}));
  EXPECT_EQ(g.letters, (std::vector<std::string>{"a", "ab", "bc", "cd", "d"}));
}

// The example of Piepho (2004): eight treatments, five pairs told apart (T1-T7, T1-T8, T2-T4, T2-T5, T3-T5).
// The groups are the maximal sets without any of these pairs, listed by hand.
TEST(Groups, PiephosExample) {
  const Groups g = find_groups(
      comparison_of({8, 7, 6, 5, 4, 3, 2, 1}, {{6, 0}, {7, 0}, {3, 1}, {4, 1}, {4, 2}}));
  EXPECT_EQ(g.groups, (Groups2{{0, 1, 2, 5},
                               {0, 2, 3, 5},
                               {0, 3, 4, 5},
                               {1, 2, 5, 6, 7},
                               {2, 3, 5, 6, 7},
                               {3, 4, 5, 6, 7}}));
}

// Pairs (0,1), (2,3), .. told apart: 2^k groups, which must neither hang nor fill the memory.
TEST(Groups, ManyGroupsEnd) {
  std::vector<double> averages;
  std::vector<std::pair<std::size_t, std::size_t>> told;
  for (std::size_t i = 0; i < 60; ++i) {
    averages.push_back(static_cast<double>(60 - i));
    if (i % 2 == 1) told.emplace_back(i, i - 1);
  }
  const Groups g = find_groups(comparison_of(averages, told));
  EXPECT_EQ(g.groups.size(), 200u);
  EXPECT_NE(g.letters[0].find(','), std::string::npos);
}

TEST(Groups, NoneWithoutAverages) {
  Comparison c = comparison_of({0.5, 0.5}, {});
  for (RunInfo& run : c.runs) run.average.reset();
  EXPECT_TRUE(find_groups(c).groups.empty());
  EXPECT_EQ(groups_sentence(c), "");
}

TEST(Groups, Sentence) {
  EXPECT_EQ(
      groups_sentence(comparison_of({0.6, 0.5, 0.4}, {{2, 0}, {2, 1}})),
      "On the average, these cannot be told apart: T1 and T2. Told apart from every other: T3.");
  EXPECT_EQ(groups_sentence(comparison_of({0.6, 0.5}, {{1, 0}})),
            "On the average every run is told apart from every other.");
}

}  // namespace
}  // namespace qx
