// Column weights of a weighted fit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

namespace qx {

// A column that calibration never saw is not free: it counts as this share of the mean column.
constexpr float kLeastImportance = 1e-4f;

inline void raise_least(std::vector<float>& importance) {
  const double sum = std::accumulate(importance.begin(), importance.end(), 0.0);
  const auto least =
      kLeastImportance * static_cast<float>(sum / static_cast<double>(importance.size()));
  for (float& h : importance) h = std::max(h, least);
}

}  // namespace qx
