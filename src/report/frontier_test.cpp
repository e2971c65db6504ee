// SPDX-License-Identifier: Apache-2.0
#include "report/frontier.h"

#include <gtest/gtest.h>

#include <cmath>

namespace qx {
namespace {

Comparison comparison_of(const std::vector<double>& averages) {
  Comparison comparison;
  for (std::size_t r = 0; r < averages.size(); ++r) {
    RunInfo run;
    run.name = std::string(1, static_cast<char>('a' + r));
    if (!std::isnan(averages[r])) run.average = averages[r];
    run.average_stderr = 0.01;
    comparison.runs.push_back(run);
  }
  return comparison;
}

PairSummary pair(std::size_t baseline, std::size_t variant, Verdict verdict) {
  PairSummary summary;
  summary.baseline = baseline;
  summary.variant = variant;
  summary.average.emplace().verdict = verdict;
  return summary;
}

TEST(Frontier, HoldsWhatNothingBeatsInBothRespects) {
  // b is larger and lower than c; d equals c in all; e is the smallest and lowest.
  const Comparison comparison = comparison_of({0.60, 0.50, 0.55, 0.55, 0.30});
  const auto points = find_frontier(comparison, {100, 50, 40, 40, 10});
  ASSERT_EQ(points.size(), 5u);
  std::string order, front;
  for (const FrontierPoint& point : points) {
    order += comparison.runs[point.run].name;
    if (point.on_front) front += comparison.runs[point.run].name;
  }
  EXPECT_EQ(order, "ecdba");
  EXPECT_EQ(front, "ecda");
}

TEST(Frontier, SaysWhoIsBelowItBeyondChance) {
  Comparison comparison = comparison_of({0.60, 0.50, 0.55});
  comparison.against_baseline = {pair(0, 1, Verdict::kWorse),
                                 pair(0, 2, Verdict::kIndistinguishable)};
  comparison.between_variants = {pair(1, 2, Verdict::kBetter)};
  // c costs less than b and is shown to be better; a is better than b too, but costs more.
  const auto points = find_frontier(comparison, {100, 50, 40});
  for (const FrontierPoint& point : points) {
    EXPECT_EQ(point.beaten_by, point.run == 1 ? std::optional<std::size_t>(2) : std::nullopt);
  }
  // At no more cost the baseline beats it as well, and is named first.
  const auto cheap = find_frontier(comparison, {50, 50, 40});
  for (const FrontierPoint& point : cheap) {
    if (point.run == 1) {
      EXPECT_EQ(point.beaten_by, 0u);
    }
  }
}

TEST(Frontier, LeavesOutWhatIsNotKnown) {
  const Comparison comparison = comparison_of({0.6, std::nan(""), 0.5, 0.4});
  EXPECT_EQ(find_frontier(comparison, {1, 2, std::nullopt, INFINITY}).size(), 1u);
  EXPECT_TRUE(find_frontier(Comparison{}, {}).empty());
}

}  // namespace
}  // namespace qx
