// Means over items that come in groups (BoolQ questions about one passage) and over several tasks,
// with errors that know it. Formulas and sources: docs/statistics.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

namespace qx {

struct MeanError {
  double mean = 0;
  double stderr_ = 0;  // NaN when it cannot be estimated
};

// Mean and standard error of independent values: s / sqrt(n). NaN error when n < 2; both NaN when 0.
MeanError mean_error(std::span<const double> values);

// The same where values of one cluster may depend on each other; clusters are independent. cluster[i]
// names that of values[i]. sqrt(G/(G-1) sum_g (sum_{i in g} (x_i - mean))^2) / n. NaN when G < 2.
MeanError clustered_mean_error(std::span<const double> values,
                               std::span<const std::int64_t> cluster);

// Exact McNemar test where items share passages. sums: per passage, won items less lost ones. Under "no
// difference" each passage's outcome is as likely as its opposite (both variants exchanged), so p is the
// share of sign patterns whose |sum| is at least the observed. With one item a passage it is mcnemar_exact.
// mid_p: the same with half the probability of the observed |sum|.
struct ClusteredTest {
  double p = 1, mid_p = 1;
};
ClusteredTest clustered_mcnemar(std::span<const std::int64_t> sums);

// Averages over tasks, which are independent samples: every task weighs the same, or every item.
struct TaskMean {
  double mean = 0, stderr_ = 0;
  std::int64_t n = 0;
};
MeanError macro_average(std::span<const TaskMean> tasks);
MeanError micro_average(std::span<const TaskMean> tasks);

}  // namespace qx
