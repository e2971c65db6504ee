// Error feedback within one group of columns, and the scale and bias that are best with it.
// Formulas: docs/fitting.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "quant/affine.h"
#include "quant/group_fit.h"
#include "tensor/dtype.h"

namespace qx {

// A group's code, and what its columns leave to later ones: errors[k] = (w_k - stored_k) / U_kk with
// w_k as updated by the columns before it. Their sum of squares is what the group costs after the best
// correction by all later columns.
struct FedBackGroup {
  static constexpr int kMaxColumns = 128;
  GroupCode code;  // error: that sum
  std::uint8_t codes[kMaxColumns];
  float errors[kMaxColumns];
};

// What the groups of all rows at the same columns share.
class GroupFeedback {
 public:
  // upper: the factor's row of the group's first column, at that column; rows are `stride` apart.
  // importance: of the group's columns.
  GroupFeedback(const float* upper, std::int64_t stride, const float* importance, int columns);

  // row: the group's weights, as updated by earlier groups. Some of the best pairs of scale and bias
  // by the diagonal alone (fit_candidates) are tried with feedback; from the codes of each follows
  // the pair that is best for these codes, by least squares, rounded; and codes once more from that.
  // The least sum of squared errors is kept. A row that is not finite gives a scale of NaN.
  // Threads: pure.
  void fit(const float* row, AffineSpec spec, DType dtype, FedBackGroup& out) const;

 private:
  double quantize(const float* row, const GroupCode& code, float top, double limit,
                  FedBackGroup& out) const;
  void substitute(float* x) const;

  int n_;
  const float* importance_;
  std::vector<float> upper_;  // [n, n]
  std::vector<float> ones_;   // U^-T 1
  double ones_square_ = 0;
};

}  // namespace qx
