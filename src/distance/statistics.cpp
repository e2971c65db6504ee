// SPDX-License-Identifier: Apache-2.0
#include "distance/statistics.h"

#include <algorithm>

#include "base/error.h"
#include "stats/clusters.h"

namespace qx {

Estimate estimate_mean(std::span<const double> values, std::span<const std::int64_t> counts) {
  std::vector<std::int64_t> windows;
  windows.reserve(values.size());
  for (std::size_t w = 0; w < counts.size(); ++w) {
    windows.insert(windows.end(), static_cast<std::size_t>(counts[w]),
                   static_cast<std::int64_t>(w));
  }
  QX_CHECK(windows.size() == values.size());
  const MeanError tokens = mean_error(values);
  return {tokens.mean, tokens.stderr_, clustered_mean_error(values, windows).stderr_};
}

double quantile(std::span<const double> sorted, double fraction) {
  QX_CHECK(!sorted.empty());
  const double at = std::clamp(fraction, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  const double part = at - static_cast<double>(low);
  return (1 - part) * sorted[low] + part * sorted[high];
}

}  // namespace qx
