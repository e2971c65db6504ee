// SPDX-License-Identifier: Apache-2.0
#include "sensitivity/code_costs.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/api.h"

namespace qx {
namespace {

std::size_t bytes_of(std::int64_t count) {
  return static_cast<std::size_t>(count);
}

}  // namespace

CodedRows::CodedRows(MatrixShape matrix, AffineSpec code, DType type)
    : shape(matrix), spec(code), dtype(type) {
  const std::int64_t parameters = shape.rows * groups_per_row(shape.cols, spec.group) *
                                  static_cast<std::int64_t>(dtype_bytes(dtype));
  codes.resize(bytes_of(shape.rows * code_bytes_per_row(shape.cols, spec.bits)));
  scales.resize(bytes_of(parameters));
  biases.resize(bytes_of(parameters));
}

void CodeMaker::encode(std::span<const float> rows, MatrixShape shape, AffineSpec spec,
                       AffineOut out) const {
  if (method == FitMethod::kMinMax) {
    std::vector<std::byte> values(rows.size() * dtype_bytes(dtype));
    store_floats(dtype, rows, values.data());
    QX_CHECK(!encode_rows(dtype, values.data(), shape, spec, Rounding::kCpu, out));
  } else if (factor) {
    std::vector<float> scratch(rows.begin(), rows.end());
    gptq_rows(scratch, shape, spec, dtype, *factor, out);
  } else {
    mse_rows(rows, shape, spec, dtype, importance, out);
  }
}

std::vector<float> code_errors(const CodeMaker& maker, std::span<const float> rows,
                               MatrixShape shape, AffineSpec spec) {
  CodedRows coded(shape, spec, maker.dtype);
  maker.encode(rows, shape, spec, coded.out());
  std::vector<float> errors(rows.size());
  decode_rows(coded.view(), {0, shape.rows}, errors);
  for (std::size_t i = 0; i < errors.size(); ++i) errors[i] = rows[i] - errors[i];
  return errors;
}

double weighted_output_error(std::span<const float> errors, MatrixShape shape,
                             std::span<const float> slopes, std::span<const float> inputs,
                             float* scratch) {
  const std::int64_t samples = static_cast<std::int64_t>(inputs.size()) / shape.cols;
  QX_CHECK(static_cast<std::int64_t>(slopes.size()) == samples * shape.rows);
  WeightRows w;  // the errors, as a matrix of float32
  w.rows = shape.rows;
  w.cols = shape.cols;
  w.values = reinterpret_cast<const std::byte*>(errors.data());
  constexpr std::int64_t kSamples = 256;  // at a time
  std::vector<float> outputs(static_cast<std::size_t>(kSamples * shape.rows));
  double sum = 0;
  for (std::int64_t first = 0; first < samples; first += kSamples) {
    const std::int64_t count = std::min(kSamples, samples - first);
    kernels().linear(inputs.data() + first * shape.cols, count, shape.cols, w, 0, shape.rows,
                     outputs.data(), shape.rows, scratch);
    for (std::int64_t i = 0; i < count * shape.rows; ++i) {
      const double move =
          static_cast<double>(outputs[static_cast<std::size_t>(i)]) *
          static_cast<double>(slopes[static_cast<std::size_t>(first * shape.rows + i)]);
      sum += move * move;
    }
  }
  return sum / static_cast<double>(samples);
}

}  // namespace qx
