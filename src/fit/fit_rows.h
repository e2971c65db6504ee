// Fitted codes for rows of a matrix: group by group (mse), or with the error of each column fed
// back into those that follow (gptq: Frantar et al., arXiv 2210.17323). Formulas: docs/fitting.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "quant/affine.h"
#include "tensor/dtype.h"

namespace qx {

enum class FitMethod { kMinMax, kMse, kGptq };
std::string_view fit_method_name(FitMethod method);  // "minmax", "mse", "gptq"

// The order in which gptq quantizes columns. kImportance: groups by the sum of their columns' mean
// squares, largest first, and within each group its columns likewise; the groups of the format stay.
enum class ColumnOrder { kNatural, kImportance };
std::string_view column_order_name(ColumnOrder order);  // "natural", "importance"

// U of H^-1 = U^T U, upper triangular, of a damped second moment H, columns in the order of
// quantizing.
struct InverseFactor {
  std::int64_t width = 0;
  std::vector<float> upper;         // [width, width], row by row; zeros below the diagonal
  std::vector<float> importance;    // 1 / U[j][j]^2
  std::vector<std::int32_t> order;  // the column at each position; empty: as they come
};
// triangle: the lower triangle of the mean of x x^T (calibration_file.h). damping: this share of
// the mean of the diagonal is added to it. group matters to kImportance alone, which must then be that
// of the codes. Computed in double. Nothing when the damped matrix is not numerically positive
// definite. Threads: pure.
std::optional<InverseFactor> factor_inverse(std::span<const float> triangle, std::int64_t width,
                                            double damping,
                                            ColumnOrder order = ColumnOrder::kNatural,
                                            std::int64_t group = 0);
// Bytes that it holds at most while it runs, the triangle included, and bytes of what it returns.
std::int64_t factor_work_bytes(std::int64_t width);
std::int64_t factor_bytes(std::int64_t width);

// rows: shape.rows x shape.cols finite values, used as scratch by gptq_rows. dtype: of scales and
// biases. Each row's bytes depend on that row and on the arguments alone. Threads: pure.
void mse_rows(std::span<const float> rows, MatrixShape shape, AffineSpec spec, DType dtype,
              std::span<const float> importance, AffineOut out);
void gptq_rows(std::span<float> rows, MatrixShape shape, AffineSpec spec, DType dtype,
               const InverseFactor& factor, AffineOut out);

}  // namespace qx
