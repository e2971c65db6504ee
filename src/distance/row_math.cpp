// SPDX-License-Identifier: Apache-2.0
#include "distance/row_math.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace qx {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Extremes {
  float least = 0, most = 0;
  std::int32_t best = 0;
  bool finite = false;
};

Extremes extremes_of(std::span<const float> row) {
  Extremes e{row[0], row[0], 0, true};
  float poison = 0;  // stays 0 unless a value is NaN or infinite
  for (std::size_t i = 0; i < row.size(); ++i) {
    poison += row[i] * 0.0f;
    if (row[i] > e.most) {
      e.most = row[i];
      e.best = static_cast<std::int32_t>(i);
    }
    e.least = std::min(e.least, row[i]);
  }
  e.finite = poison == 0.0f;
  return e;
}

}  // namespace

RowSum sum_row(std::span<const float> logits) {
  QX_CHECK(!logits.empty());
  const Extremes e = extremes_of(logits);
  if (!e.finite) return {kNaN, e.best};
  const auto max = static_cast<double>(e.most);
  double sum = 0;
  for (const float v : logits) sum += std::exp(static_cast<double>(v) - max);
  return {max + std::log(sum), e.best};
}

RowPair compare_rows(std::span<const float> base, std::span<const float> variant) {
  QX_CHECK(!base.empty() && base.size() == variant.size());
  const Extremes a = extremes_of(base), b = extremes_of(variant);
  if (!a.finite || !b.finite) return {sum_row(base), sum_row(variant), kNaN};
  const auto max_a = static_cast<double>(a.most), max_b = static_cast<double>(b.most);
  double sum_a = 0, sum_b = 0, moment = 0;
  for (std::size_t i = 0; i < base.size(); ++i) {
    const auto x = static_cast<double>(base[i]), y = static_cast<double>(variant[i]);
    const double p = std::exp(x - max_a);
    sum_a += p;
    sum_b += std::exp(y - max_b);
    moment += p * (x - y);
  }
  const double log_a = max_a + std::log(sum_a), log_b = max_b + std::log(sum_b);
  // sum p (x - log_a - y + log_b) with sum p = 1.
  const double kl = std::max(0.0, moment / sum_a - (log_a - log_b));
  return {{log_a, a.best}, {log_b, b.best}, kl};
}

std::vector<std::int32_t> largest(std::span<const float> logits, std::size_t count) {
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  count = std::min(count, order.size());
  const auto larger = [&](std::int32_t a, std::int32_t b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    larger);
  order.resize(count);
  return order;
}

}  // namespace qx
