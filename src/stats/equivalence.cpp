// SPDX-License-Identifier: Apache-2.0
#include "stats/equivalence.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>

#include "base/error.h"

namespace qx {
namespace {

double upper_tail(double z) {
  return boost::math::cdf(boost::math::complement(boost::math::normal(), z));
}

// P(baseline right, variant wrong) under H0, by maximum likelihood: the root in [0, 1] of
// 2n q^2 + B q - b D (1 - D) = 0, where c answers were won, b lost, and D is the difference.
double likeliest_lost_share(double n, double lost, double won, double difference) {
  const double a = 2 * n;
  const double b = -(won + lost) + (2 * n - won + lost) * difference;
  const double c = -lost * difference * (1 - difference);
  const double root = std::sqrt(std::max(0.0, b * b - 4 * a * c));
  // Of the two forms of the root, the one without cancellation.
  const double q = b <= 0 ? (root - b) / (2 * a) : (root + b > 0 ? -2 * c / (root + b) : 0.0);
  return std::clamp(q, 0.0, 1.0);
}

}  // namespace

double tango_statistic(const PairedCounts& counts, double difference) {
  QX_CHECK(difference > -1 && difference < 1);
  // The formula is written for D >= 0, where the winning side carries the difference.
  if (difference < 0) {
    PairedCounts swapped = counts;
    std::swap(swapped.right_to_wrong, swapped.wrong_to_right);
    return -tango_statistic(swapped, -difference);
  }
  const auto n = static_cast<double>(counts.n());
  const auto lost = static_cast<double>(counts.right_to_wrong);
  const auto won = static_cast<double>(counts.wrong_to_right);
  const double q = likeliest_lost_share(n, lost, won, difference);
  const double variance = n * (2 * q + difference * (1 - difference));
  const double distance = won - lost - n * difference;
  if (variance <= 0) return 0;
  return distance / std::sqrt(variance);
}

Interval tango_interval(const PairedCounts& counts, double confidence) {
  QX_CHECK(confidence > 0 && confidence < 1);
  const std::int64_t n = counts.n();
  if (n == 0) return {-1, 1};
  const double z = boost::math::quantile(boost::math::normal(), 0.5 + confidence / 2);
  const double observed =
      static_cast<double>(counts.wrong_to_right - counts.right_to_wrong) / static_cast<double>(n);
  // The statistic falls as the difference grows, and is 0 at the one observed.
  const auto bound = [&](double outer, double level) {
    double inside = observed, outside = outer;
    for (int i = 0; i < 100; ++i) {
      const double middle = (inside + outside) / 2;
      if (middle <= -1 || middle >= 1) break;
      (std::fabs(tango_statistic(counts, middle)) <= level ? inside : outside) = middle;
    }
    return inside;
  };
  return {observed <= -1 ? -1.0 : bound(-1, z), observed >= 1 ? 1.0 : bound(1, z)};
}

double noninferiority_p(const PairedCounts& counts, double margin) {
  QX_CHECK(margin > 0 && margin < 1);
  if (counts.n() == 0) return 1;
  return upper_tail(tango_statistic(counts, -margin));
}

double equivalence_p(const PairedCounts& counts, double margin) {
  QX_CHECK(margin > 0 && margin < 1);
  if (counts.n() == 0) return 1;
  return std::max(noninferiority_p(counts, margin), upper_tail(-tango_statistic(counts, margin)));
}

}  // namespace qx
