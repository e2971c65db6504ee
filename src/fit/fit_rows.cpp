// SPDX-License-Identifier: Apache-2.0
#include "fit/fit_rows.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>

#include "base/error.h"
#include "fit/group_feedback.h"
#include "quant/group_fit.h"

namespace qx {
namespace {

constexpr std::int64_t kRowsAtOnce = 32;  // that share a panel of the factor in the cache
constexpr std::int64_t kMaxGroup = FedBackGroup::kMaxColumns;

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic>;

// Eigen cuts its products by the caches it finds, which would make sums depend on the machine.
void fix_block_sizes() {
  static std::once_flag once;
  std::call_once(once, [] { Eigen::setCpuCacheSizes(32 << 10, 512 << 10, 2 << 20); });
}

void store_group(const AffineOut& out, std::int64_t row, std::int64_t first_col, std::int64_t cols,
                 AffineSpec spec, DType dtype, const GroupCode& code, const std::uint8_t* codes) {
  const auto size = static_cast<std::int64_t>(dtype_bytes(dtype));
  const std::int64_t group = row * groups_per_row(cols, spec.group) + first_col / spec.group;
  pack_codes(codes, spec.group, spec.bits,
             out.codes + row * code_bytes_per_row(cols, spec.bits) +
                 code_bytes_per_row(first_col, spec.bits));
  store_floats(dtype, {&code.scale, 1}, out.scales + group * size);
  store_floats(dtype, {&code.bias, 1}, out.biases + group * size);
}

// row -= sum over k of errors[k] * U[first + k], for the columns from `begin` on; four of the
// factor's rows at a time, in rising order.
void subtract_errors(const InverseFactor& factor, std::int64_t first, std::int64_t count,
                     const float* errors, std::int64_t begin, float* row) {
  const std::int64_t n = factor.width;
  for (std::int64_t k = 0; k < count; k += 4) {
    const float* u0 = factor.upper.data() + (first + k) * n;
    const float *u1 = u0 + n, *u2 = u1 + n, *u3 = u2 + n;
    const float e0 = errors[k], e1 = errors[k + 1], e2 = errors[k + 2], e3 = errors[k + 3];
    for (std::int64_t c = begin; c < n; ++c) {
      row[c] -= (e0 * u0[c] + e1 * u1[c]) + (e2 * u2[c] + e3 * u3[c]);
    }
  }
}

std::vector<std::int32_t> importance_order(std::span<const float> triangle, std::int64_t width,
                                           std::int64_t group) {
  QX_CHECK(group > 0 && width % group == 0);
  const auto square = [&](std::int32_t i) {
    return triangle[static_cast<std::size_t>(std::int64_t{i} * (i + 1) / 2 + i)];
  };
  std::vector<double> sums(static_cast<std::size_t>(width / group));
  for (std::int64_t i = 0; i < width; ++i) {
    sums[static_cast<std::size_t>(i / group)] +=
        static_cast<double>(square(static_cast<std::int32_t>(i)));
  }
  std::vector<std::size_t> groups(sums.size());
  std::iota(groups.begin(), groups.end(), std::size_t{0});
  std::stable_sort(groups.begin(), groups.end(),
                   [&](std::size_t a, std::size_t b) { return sums[a] > sums[b]; });
  std::vector<std::int32_t> order, columns(static_cast<std::size_t>(group));
  for (const std::size_t g : groups) {
    std::iota(columns.begin(), columns.end(),
              static_cast<std::int32_t>(static_cast<std::int64_t>(g) * group));
    std::stable_sort(columns.begin(), columns.end(),
                     [&](std::int32_t a, std::int32_t b) { return square(a) > square(b); });
    order.insert(order.end(), columns.begin(), columns.end());
  }
  return order;
}

// The values of a row in the order of quantizing.
void reorder(std::span<const std::int32_t> order, float* row, std::vector<float>& copy) {
  copy.assign(row, row + order.size());
  for (std::size_t c = 0; c < order.size(); ++c) row[c] = copy[static_cast<std::size_t>(order[c])];
}

// Of a group at positions from `first` on: its first column, and its codes in the columns' order.
std::int64_t place_codes(const InverseFactor& factor, std::int64_t first, std::int64_t group,
                         const std::uint8_t* codes, std::uint8_t* placed) {
  if (factor.order.empty()) {
    std::copy_n(codes, group, placed);
    return first;
  }
  const std::int32_t* order = factor.order.data() + first;
  const std::int64_t begin = order[0] / group * group;
  for (std::int64_t k = 0; k < group; ++k) placed[order[k] - begin] = codes[k];
  return begin;
}

}  // namespace

std::string_view fit_method_name(FitMethod method) {
  switch (method) {
    case FitMethod::kMinMax:
      return "minmax";
    case FitMethod::kMse:
      return "mse";
    case FitMethod::kGptq:
      return "gptq";
  }
  return "";
}

std::string_view column_order_name(ColumnOrder order) {
  return order == ColumnOrder::kImportance ? "importance" : "natural";
}

std::int64_t factor_work_bytes(std::int64_t width) {
  // H and its inverse's factor in double, the result, and the triangle it came from.
  return width * width * (8 + 8 + 4 + 2);
}

std::int64_t factor_bytes(std::int64_t width) {
  return width * width * 4;
}

// With J the reversal of rows and columns and J H J = L L^T, R = J L J is upper triangular and H =
// R R^T; so H^-1 = R^-T R^-1 and U = R^-1 = J L^-1 J: one factorization instead of two and an
// inverse.
std::optional<InverseFactor> factor_inverse(std::span<const float> triangle, std::int64_t width,
                                            double damping, ColumnOrder column_order,
                                            std::int64_t group) {
  QX_CHECK(static_cast<std::int64_t>(triangle.size()) == width * (width + 1) / 2);
  fix_block_sizes();
  InverseFactor out;
  if (column_order == ColumnOrder::kImportance)
    out.order = importance_order(triangle, width, group);
  const auto at = [&](std::int64_t i, std::int64_t j) {
    if (!out.order.empty()) {
      const std::int64_t a = out.order[static_cast<std::size_t>(i)],
                         b = out.order[static_cast<std::size_t>(j)];
      i = std::max(a, b);
      j = std::min(a, b);
    }
    return static_cast<double>(triangle[static_cast<std::size_t>(i * (i + 1) / 2 + j)]);
  };
  double mean = 0;
  for (std::int64_t i = 0; i < width; ++i) mean += at(i, i);
  mean /= static_cast<double>(width);
  if (!(mean > 0) || !std::isfinite(mean)) return std::nullopt;
  Matrix h = Matrix::Zero(width, width);
  for (std::int64_t i = 0; i < width; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      // Divided by the mean, so that sizes of activations do not matter; the lower triangle of J H
      // J.
      h(width - 1 - j, width - 1 - i) = at(i, j) / mean + (i == j ? damping : 0.0);
    }
  }
  const Eigen::LLT<Eigen::Ref<Matrix>, Eigen::Lower> llt(h);  // in place
  if (llt.info() != Eigen::Success) return std::nullopt;
  Matrix inverse = Matrix::Identity(width, width);
  h.triangularView<Eigen::Lower>().solveInPlace(inverse);
  out.width = width;
  out.upper.assign(static_cast<std::size_t>(width * width), 0.0f);
  for (std::int64_t i = 0; i < width; ++i) {
    const double diagonal = inverse(width - 1 - i, width - 1 - i);
    if (!(diagonal > 0) || !std::isfinite(diagonal)) return std::nullopt;
    for (std::int64_t j = i; j < width; ++j) {
      out.upper[static_cast<std::size_t>(i * width + j)] =
          static_cast<float>(inverse(width - 1 - i, width - 1 - j));
    }
    out.importance.push_back(static_cast<float>(1.0 / (diagonal * diagonal)));
  }
  const auto is_finite = [](float x) { return std::isfinite(x); };
  if (!std::all_of(out.upper.begin(), out.upper.end(), is_finite) ||
      !std::all_of(out.importance.begin(), out.importance.end(), is_finite)) {
    return std::nullopt;
  }
  return out;
}

void mse_rows(std::span<const float> rows, MatrixShape shape, AffineSpec spec, DType dtype,
              std::span<const float> importance, AffineOut out) {
  QX_CHECK(static_cast<std::int64_t>(importance.size()) == shape.cols);
  QX_CHECK(static_cast<std::int64_t>(rows.size()) == shape.rows * shape.cols);
  std::uint8_t codes[kMaxGroup];
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    for (std::int64_t c = 0; c < shape.cols; c += spec.group) {
      const GroupCode code =
          fit_group(rows.data() + r * shape.cols + c, importance.data() + c, spec, dtype, codes);
      store_group(out, r, c, shape.cols, spec, dtype, code, codes);
    }
  }
}

void gptq_rows(std::span<float> rows, MatrixShape shape, AffineSpec spec, DType dtype,
               const InverseFactor& factor, AffineOut out) {
  QX_CHECK(factor.width == shape.cols);
  QX_CHECK(static_cast<std::int64_t>(rows.size()) == shape.rows * shape.cols);
  FedBackGroup fitted;
  std::uint8_t placed[kMaxGroup];
  std::vector<float> copy;
  for (std::int64_t begin = 0; begin < shape.rows; begin += kRowsAtOnce) {
    const std::int64_t end = std::min(begin + kRowsAtOnce, shape.rows);
    for (std::int64_t r = begin; r < end && !factor.order.empty(); ++r) {
      reorder(factor.order, rows.data() + r * shape.cols, copy);
    }
    for (std::int64_t c = 0; c < shape.cols; c += spec.group) {
      const GroupFeedback group(factor.upper.data() + c * factor.width + c, factor.width,
                                factor.importance.data() + c, spec.group);
      for (std::int64_t r = begin; r < end; ++r) {
        float* row = rows.data() + r * shape.cols;
        group.fit(row + c, spec, dtype, fitted);
        const std::int64_t first = place_codes(factor, c, spec.group, fitted.codes, placed);
        store_group(out, r, first, shape.cols, spec, dtype, fitted.code, placed);
        subtract_errors(factor, c, spec.group, fitted.errors, c + spec.group, row);
      }
    }
  }
}

}  // namespace qx
