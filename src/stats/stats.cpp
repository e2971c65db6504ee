// SPDX-License-Identifier: Apache-2.0
#include "stats/stats.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace qx {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double to_double(std::int64_t x) {
  return static_cast<double>(x);
}

// Phi coefficient of the paired 2x2 table with Newcombe's continuity correction (method 10): the
// numerator shrinks by n/2 towards 0 when positive.
double corrected_phi(const PairedCounts& t) {
  const double a = to_double(t.both_right), b = to_double(t.right_to_wrong);
  const double c = to_double(t.wrong_to_right), d = to_double(t.both_wrong);
  const double product = (a + b) * (c + d) * (a + c) * (b + d);
  if (product == 0) return 0;
  double numerator = a * d - b * c;
  if (numerator > 0) numerator = std::max(0.0, numerator - to_double(t.n()) / 2);
  return numerator / std::sqrt(product);
}

}  // namespace

double accuracy_stderr(std::int64_t correct, std::int64_t n) {
  if (n < 2) return kNaN;
  const double p = to_double(correct) / to_double(n);
  return std::sqrt(p * (1 - p) / to_double(n - 1));
}

Interval wilson_interval(std::int64_t correct, std::int64_t n, double confidence) {
  QX_CHECK(0 <= correct && correct <= n && confidence > 0 && confidence < 1);
  if (n == 0) return {0, 1};
  const double z = normal_point(0.5 + confidence / 2);
  const double size = to_double(n), p = to_double(correct) / size, z2 = z * z;
  const double center = (p + z2 / (2 * size)) / (1 + z2 / size);
  const double half = z / (1 + z2 / size) * std::sqrt(p * (1 - p) / size + z2 / (4 * size * size));
  // At the ends the bound is exactly 0 or 1; the formula misses it by a rounding error.
  return {correct == 0 ? 0.0 : center - half, correct == n ? 1.0 : center + half};
}

double mcnemar_exact(const PairedCounts& counts) {
  const std::int64_t discordant = counts.right_to_wrong + counts.wrong_to_right;
  if (discordant == 0) return 1;
  const boost::math::binomial coin(to_double(discordant), 0.5);
  const std::int64_t fewer = std::min(counts.right_to_wrong, counts.wrong_to_right);
  return std::min(1.0, 2 * boost::math::cdf(coin, to_double(fewer)));
}

double mcnemar_mid_p(const PairedCounts& counts) {
  const std::int64_t discordant = counts.right_to_wrong + counts.wrong_to_right;
  if (discordant == 0) return 1;
  const boost::math::binomial coin(to_double(discordant), 0.5);
  const double fewer = to_double(std::min(counts.right_to_wrong, counts.wrong_to_right));
  return 2 * boost::math::cdf(coin, fewer) - boost::math::pdf(coin, fewer);
}

Interval newcombe_paired_interval(const PairedCounts& counts, double confidence) {
  const std::int64_t n = counts.n();
  if (n == 0) return {-1, 1};
  const std::int64_t variant = counts.both_right + counts.wrong_to_right;
  const std::int64_t baseline = counts.both_right + counts.right_to_wrong;
  const Interval wv = wilson_interval(variant, n, confidence);
  const Interval wb = wilson_interval(baseline, n, confidence);
  const double pv = to_double(variant) / to_double(n), pb = to_double(baseline) / to_double(n);
  const double phi = corrected_phi(counts);
  const auto spread = [phi](double x, double y) {
    return std::sqrt(std::max(0.0, x * x - 2 * phi * x * y + y * y));
  };
  const double difference = pv - pb;
  return {difference - spread(pv - wv.low, wb.high - pb),
          difference + spread(wv.high - pv, pb - wb.low)};
}

std::vector<double> holm_adjust(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double running = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    const double factor = static_cast<double>(order.size() - rank);
    running = std::max(running, std::min(1.0, factor * p_values[order[rank]]));
    adjusted[order[rank]] = running;
  }
  return adjusted;
}

std::vector<double> benjamini_hochberg_adjust(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double running = 1;
  for (std::size_t rank = order.size(); rank > 0; --rank) {
    const double factor = static_cast<double>(order.size()) / static_cast<double>(rank);
    running = std::min(running, factor * p_values[order[rank - 1]]);
    adjusted[order[rank - 1]] = running;
  }
  return adjusted;
}

double paired_difference_stderr(const PairedCounts& counts) {
  const std::int64_t n = counts.n();
  if (n < 2) return kNaN;
  const double size = to_double(n);
  const double discordant = to_double(counts.right_to_wrong + counts.wrong_to_right) / size;
  const double difference = to_double(counts.wrong_to_right - counts.right_to_wrong) / size;
  return std::sqrt(std::max(0.0, discordant - difference * difference) / (size - 1));
}

double two_proportion_z(double a, std::int64_t n_a, double b, std::int64_t n_b) {
  const double size_a = to_double(n_a), size_b = to_double(n_b);
  const double pooled = (a * size_a + b * size_b) / (size_a + size_b);
  const double variance = pooled * (1 - pooled) * (1 / size_a + 1 / size_b);
  return variance > 0 ? (b - a) / std::sqrt(variance) : 0;
}

double normal_point(double p) {
  return boost::math::quantile(boost::math::normal(), p);
}

double two_sided_normal_p(double z) {
  if (std::isnan(z)) return kNaN;
  return 2 * boost::math::cdf(boost::math::complement(boost::math::normal(), std::fabs(z)));
}

double items_needed(double difference, double discordance, double alpha, double power) {
  const double d = std::fabs(difference), psi = discordance;
  if (!(d > 0 && d <= psi && psi <= 1)) return kNaN;
  const double root =
      normal_point(1 - alpha / 2) * std::sqrt(psi) + normal_point(power) * std::sqrt(psi - d * d);
  return root * root / (d * d);
}

double minimum_detectable_difference(const PairedCounts& counts, double alpha, double power) {
  const std::int64_t n = counts.n();
  const std::int64_t discordant = counts.right_to_wrong + counts.wrong_to_right;
  if (n == 0 || discordant == 0) return kNaN;
  const double psi = to_double(discordant) / to_double(n);
  // Items needed for a true difference fall as it grows; it cannot exceed psi.
  if (items_needed(psi, psi, alpha, power) > to_double(n)) return kNaN;
  double low = 0, high = psi;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (items_needed(middle, psi, alpha, power) > to_double(n) ? low : high) = middle;
  }
  return high;
}

}  // namespace qx
