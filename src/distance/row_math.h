// Softmax of one row of float32 logits and the divergence of two, summed in double over the whole
// vocabulary in one order. Pure functions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace qx {

struct RowSum {
  double log_sum = 0;     // ln of the sum of exp(logit); NaN when a logit is NaN or infinite
  std::int32_t best = 0;  // first index of the largest logit
};
RowSum sum_row(std::span<const float> logits);

struct RowPair {
  RowSum base, variant;
  // KL(base || variant) = sum over i of p_i (ln p_i - ln q_i), in nats. Rounding below zero becomes
  // zero; equal rows give zero exactly. NaN when a logit is NaN or infinite.
  double kl = 0;
};
RowPair compare_rows(std::span<const float> base, std::span<const float> variant);

// Indices of the count largest logits, largest first; of equal ones the lower index first.
std::vector<std::int32_t> largest(std::span<const float> logits, std::size_t count);

}  // namespace qx
