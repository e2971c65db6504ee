// Means and quantiles of values over the tokens of a text, with two standard errors: one that takes
// tokens as independent, one that takes only windows as independent. Pure functions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace qx {

struct Estimate {
  double mean = 0;
  // sqrt((E[x^2] - E[x]^2) / (n - 1)): the standard error of the mean of independent values, as
  // llama.cpp has it; mlx-lm's sqrt(var(x, ddof=1) / n) is the same number. NaN when n < 2.
  double stderr_tokens = 0;
  // With values of one window correlated in any way and windows independent: the mean is the ratio of
  // sums over the windows, whose linearization gives sqrt(W / (W - 1) sum_w (S_w - mean n_w)^2) / n
  // (Cochran, Sampling Techniques, 3rd ed., section 6.3; stats/clusters.h). NaN when there are fewer than
  // two windows.
  double stderr_windows = 0;
};

// values: in the order of the windows; counts: how many belong to each, sum(counts) == values.size().
// An empty list gives NaN.
Estimate estimate_mean(std::span<const double> values, std::span<const std::int64_t> counts);

// Linear interpolation at fraction * (n - 1), as numpy and llama.cpp; the median averages the middle
// two. sorted ascending and not empty.
double quantile(std::span<const double> sorted, double fraction);

}  // namespace qx
