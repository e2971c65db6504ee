// SPDX-License-Identifier: Apache-2.0
#include "stats/resampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace qx {
namespace {

constexpr std::size_t kExactItems = 16;

double quantile_of_sorted(const std::vector<double>& sorted, double p) {
  const double position = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const double share = position - static_cast<double>(below);
  if (below + 1 == sorted.size()) return sorted.back();
  return sorted[below] + share * (sorted[below + 1] - sorted[below]);
}

// Sums that are equal on paper count as reaching the observed one, whatever their rounding.
double reach(std::span<const double> values) {
  double sum = 0, magnitude = 0;
  for (const double v : values) {
    sum += v;
    magnitude += std::fabs(v);
  }
  return std::fabs(sum) - 1e-12 * magnitude;
}

double exact_share(std::span<const double> values, double threshold) {
  const std::uint64_t patterns = std::uint64_t{1} << values.size();
  std::uint64_t reached = 0;
  for (std::uint64_t pattern = 0; pattern < patterns; ++pattern) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      sum += (pattern >> i & 1) != 0 ? -values[i] : values[i];
    }
    reached += std::fabs(sum) >= threshold ? 1 : 0;
  }
  return static_cast<double>(reached) / static_cast<double>(patterns);
}

}  // namespace

Interval bootstrap_mean_interval(std::span<const double> differences, double confidence,
                                 const Resampling& how) {
  QX_CHECK(confidence > 0 && confidence < 1 && how.rounds >= 1);
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  if (differences.empty()) return {kNaN, kNaN};
  Random random(how.seed);
  std::vector<double> means(static_cast<std::size_t>(how.rounds));
  for (double& mean : means) {
    double sum = 0;
    for (std::size_t i = 0; i < differences.size(); ++i) {
      sum += differences[random.below(differences.size())];
    }
    mean = sum / static_cast<double>(differences.size());
  }
  std::sort(means.begin(), means.end());
  return {quantile_of_sorted(means, (1 - confidence) / 2),
          quantile_of_sorted(means, (1 + confidence) / 2)};
}

double sign_flip_p(std::span<const double> differences, const Resampling& how) {
  QX_CHECK(how.rounds >= 1);
  if (differences.empty()) return 1;
  const double threshold = reach(differences);
  if (differences.size() <= kExactItems) return exact_share(differences, threshold);
  Random random(how.seed);
  std::int64_t reached = 1;  // the observed signs are one of the patterns
  for (std::int64_t round = 0; round < how.rounds; ++round) {
    double sum = 0;
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < differences.size(); ++i) {
      if (i % 64 == 0) bits = random.next();
      sum += (bits & 1) != 0 ? -differences[i] : differences[i];
      bits >>= 1;
    }
    reached += std::fabs(sum) >= threshold ? 1 : 0;
  }
  return static_cast<double>(reached) / static_cast<double>(how.rounds + 1);
}

}  // namespace qx
