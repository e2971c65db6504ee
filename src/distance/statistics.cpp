// SPDX-License-Identifier: Apache-2.0
#include "distance/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace qx {

Estimate estimate_mean(std::span<const double> values, std::span<const std::int64_t> counts) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  Estimate estimate{kNone, kNone, kNone};
  if (values.empty()) return estimate;
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  for (const double v : values) sum += v;
  estimate.mean = sum / n;

  double squares = 0, window_squares = 0, windows = 0;
  std::size_t at = 0;
  for (const std::int64_t count : counts) {
    double window = 0;
    for (std::int64_t i = 0; i < count; ++i, ++at) {
      const double d = values[at] - estimate.mean;
      squares += d * d;
      window += d;
    }
    window_squares += window * window;
    if (count > 0) ++windows;
  }
  QX_CHECK(at == values.size());
  if (n > 1) estimate.stderr_tokens = std::sqrt(squares / n / (n - 1));
  if (windows > 1) {
    estimate.stderr_windows = std::sqrt(windows / (windows - 1) * window_squares) / n;
  }
  return estimate;
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
