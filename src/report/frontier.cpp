// SPDX-License-Identifier: Apache-2.0
#include "report/frontier.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace qx {
namespace {

// Whether run a is shown to score better on average than run b.
bool shown_better(const Comparison& comparison, std::size_t a, std::size_t b) {
  const auto decides = [&](const PairSummary& pair) {
    if (!pair.average) return false;
    const Verdict verdict = pair.average->verdict;
    return (pair.variant == a && pair.baseline == b && verdict == Verdict::kBetter) ||
           (pair.variant == b && pair.baseline == a && verdict == Verdict::kWorse);
  };
  return std::any_of(comparison.against_baseline.begin(), comparison.against_baseline.end(),
                     decides) ||
         std::any_of(comparison.between_variants.begin(), comparison.between_variants.end(),
                     decides);
}

bool dominates(const FrontierPoint& a, const FrontierPoint& b) {
  return a.cost <= b.cost && a.average >= b.average && (a.cost < b.cost || a.average > b.average);
}

}  // namespace

std::vector<FrontierPoint> find_frontier(const Comparison& comparison,
                                         const std::vector<std::optional<double>>& costs) {
  QX_CHECK(costs.size() == comparison.runs.size());
  std::vector<FrontierPoint> points;
  for (std::size_t r = 0; r < costs.size(); ++r) {
    const RunInfo& run = comparison.runs[r];
    if (!costs[r] || !std::isfinite(*costs[r]) || !run.average || !std::isfinite(*run.average)) {
      continue;
    }
    points.push_back({r, *costs[r], *run.average, run.average_stderr, false, std::nullopt});
  }
  for (FrontierPoint& point : points) {
    point.on_front = std::none_of(points.begin(), points.end(), [&](const FrontierPoint& other) {
      return dominates(other, point);
    });
    for (const FrontierPoint& other : points) {
      if (other.cost > point.cost || other.run == point.run || point.beaten_by) continue;
      if (shown_better(comparison, other.run, point.run)) point.beaten_by = other.run;
    }
  }
  std::stable_sort(points.begin(), points.end(),
                   [](const FrontierPoint& a, const FrontierPoint& b) { return a.cost < b.cost; });
  return points;
}

}  // namespace qx
