// SPDX-License-Identifier: Apache-2.0
#include "stats/equivalence.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <limits>

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

double tango_bound(const PairedCounts& counts, double z, double design_effect) {
  QX_CHECK(counts.n() > 0 && design_effect >= 1);
  const auto n = static_cast<double>(counts.n());
  const double observed = static_cast<double>(counts.wrong_to_right - counts.right_to_wrong) / n;
  const double level = z * std::sqrt(design_effect);
  if (level == 0) return observed;
  const double outer = level > 0 ? -1 : 1;
  if (observed == outer) return outer;
  // The statistic falls as the difference grows, and is 0 at the one observed.
  double inside = observed, outside = outer;
  for (int i = 0; i < 45; ++i) {
    const double middle = (inside + outside) / 2;
    if (middle == inside || middle == outside) break;
    (std::fabs(tango_statistic(counts, middle)) <= std::fabs(level) ? inside : outside) = middle;
  }
  return inside;
}

Interval tango_interval(const PairedCounts& counts, double confidence, double design_effect) {
  QX_CHECK(confidence > 0 && confidence < 1);
  if (counts.n() == 0) return {-1, 1};
  const double z = boost::math::quantile(boost::math::normal(), 0.5 + confidence / 2);
  return {tango_bound(counts, z, design_effect), tango_bound(counts, -z, design_effect)};
}

double noninferiority_p(const PairedCounts& counts, double margin, double design_effect) {
  QX_CHECK(margin > 0 && margin < 1 && design_effect >= 1);
  if (counts.n() == 0) return 1;
  return upper_tail(tango_statistic(counts, -margin) / std::sqrt(design_effect));
}

double equivalence_p(const PairedCounts& counts, double margin, double design_effect) {
  QX_CHECK(margin > 0 && margin < 1 && design_effect >= 1);
  if (counts.n() == 0) return 1;
  return std::max(noninferiority_p(counts, margin, design_effect),
                  upper_tail(-tango_statistic(counts, margin) / std::sqrt(design_effect)));
}

double equivalence_precision(double difference, double margin, double alpha, double power) {
  QX_CHECK(alpha > 0 && alpha < 1 && power > 0 && power < 1);
  const double d = std::fabs(difference);
  if (!(d < margin)) return std::numeric_limits<double>::infinity();
  const boost::math::normal normal;
  const double z = boost::math::quantile(normal, 1 - alpha);
  const auto shows = [&](double s) {
    return boost::math::cdf(normal, (margin - d) * s - z) +
               boost::math::cdf(normal, (margin + d) * s - z) >=
           1 + power;
  };
  // Enough when each of both tests fails with half the probability that is left.
  double low = 0;
  double high = (z + boost::math::quantile(normal, 1 - (1 - power) / 2)) / (margin - d);
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (shows(middle) ? high : low) = middle;
  }
  return high;
}

double items_for_equivalence(double difference, double discordance, double margin, double alpha,
                             double power) {
  const double d = std::fabs(difference);
  if (!(d < margin && margin < 1 && d <= discordance && discordance <= 1)) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const double precision = equivalence_precision(d, margin, alpha, power);
  // A true difference of the margin would make at least that share of the items differ.
  return precision * precision * std::max(discordance - d * d, margin * (1 - margin));
}

}  // namespace qx
