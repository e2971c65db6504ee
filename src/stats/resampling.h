// Paired differences of continuous scores (margins, log-probabilities, KL): intervals and tests that
// assume no distribution, by resampling with our own seeded random numbers. Results depend on the
// values, their order and the seed only. Formulas and sources: docs/statistics.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "stats/stats.h"

namespace qx {

struct Resampling {
  std::int64_t rounds = 10'000;  // >= 1
  std::uint64_t seed = 1;
};

// Percentile bootstrap (Efron 1979) of the mean of per-item differences, resampling items. Limits are
// interpolated linearly between order statistics. differences: finite. Empty: [NaN, NaN].
Interval bootstrap_mean_interval(std::span<const double> differences, double confidence,
                                 const Resampling& how = {});

// Sign-flip test of a mean of zero: the share of all 2^n sign patterns, or for n > 16 of `rounds`
// random ones with the observed one counted in, whose |sum| is at least the observed. Two-sided.
// Empty: 1.
double sign_flip_p(std::span<const double> differences, const Resampling& how = {});

}  // namespace qx
