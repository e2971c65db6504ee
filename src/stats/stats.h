// Statistics of paired accuracies: pure functions, no I/O. Formulas and sources:
// docs/statistics.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace qx {

struct Interval {
  double low = 0, high = 0;
};

// Standard error of a proportion as lm-eval prints it: sqrt(p (1 - p) / (n - 1)). NaN when n < 2.
double accuracy_stderr(std::int64_t correct, std::int64_t n);

// Wilson score interval (Wilson 1927). n == 0 gives [0, 1].
Interval wilson_interval(std::int64_t correct, std::int64_t n, double confidence);

// A pair of variants on the same items.
struct PairedCounts {
  std::int64_t both_right = 0;
  std::int64_t right_to_wrong = 0;  // baseline right, variant wrong
  std::int64_t wrong_to_right = 0;
  std::int64_t both_wrong = 0;
  std::int64_t n() const { return both_right + right_to_wrong + wrong_to_right + both_wrong; }
};

// Exact two-sided McNemar test: binomial(b + c, 1/2), p = min(1, 2 P(X <= min(b, c))). 1 when b + c
// == 0.
double mcnemar_exact(const PairedCounts& counts);

// The same with half the probability of the observed count (Lancaster 1961): less conservative, and its
// level may be exceeded slightly.
double mcnemar_mid_p(const PairedCounts& counts);

// Interval of (variant accuracy - baseline accuracy) on paired items: Newcombe (1998), method 10.
Interval newcombe_paired_interval(const PairedCounts& counts, double confidence);

// Holm's step-down adjusted p-values, in the order given.
std::vector<double> holm_adjust(std::span<const double> p_values);

// Benjamini and Hochberg's (1995) adjusted p-values, in the order given: rejecting those below q keeps
// the expected share of false rejections below q.
std::vector<double> benjamini_hochberg_adjust(std::span<const double> p_values);

// Standard error of the paired difference of accuracies, from the discordant counts.
double paired_difference_stderr(const PairedCounts& counts);

// Of two independent samples with accuracies a of n_a and b of n_b items:
// (b - a) / sqrt(p (1 - p) (1/n_a + 1/n_b)) with the pooled accuracy p; 0 when all are right or all wrong.
double two_proportion_z(double a, std::int64_t n_a, double b, std::int64_t n_b);

// P(|Z| >= |z|) of a standard normal Z.
double two_sided_normal_p(double z);

// The standard normal's quantile: P(Z <= normal_point(p)) = p, 0 < p < 1.
double normal_point(double p);

// Smallest difference of accuracies that n paired items with this discordance would have shown with
// the given power at the two-sided level alpha (Connor 1987, normal approximation). NaN when no
// pair was discordant, or when even a difference as large as the whole discordance would have
// needed more items.
double minimum_detectable_difference(const PairedCounts& counts, double alpha, double power);

// Paired items that a difference of accuracies needs to be shown with the given power at the two-sided
// level alpha, where a share `discordance` of the items differs (the same formula, solved for n).
// NaN unless 0 < |difference| <= discordance <= 1.
double items_needed(double difference, double discordance, double alpha, double power);

}  // namespace qx
