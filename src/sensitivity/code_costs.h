// The cost of a code: what its errors do to the output of a layer, weighted by what that does to
// the model's distribution.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fit/fit_rows.h"
#include "quant/affine.h"
#include "tensor/dtype.h"

namespace qx {

// How codes are found, and what that needs of the input of a matrix.
struct CodeMaker {
  FitMethod method = FitMethod::kMinMax;
  DType dtype = DType::kBF16;           // of scales and biases
  std::vector<float> importance;        // mse, and gptq without a factor
  std::optional<InverseFactor> factor;  // gptq

  // Codes of these rows, values of dtype, as qx convert finds them. out: codes, scales, biases of
  // the rows, row by row.
  void encode(std::span<const float> rows, MatrixShape shape, AffineSpec spec, AffineOut out) const;
};

struct CodedRows {
  MatrixShape shape;
  AffineSpec spec;
  DType dtype = DType::kBF16;
  std::vector<std::byte> codes, scales, biases;
  CodedRows(MatrixShape shape, AffineSpec spec, DType dtype);
  AffineOut out() { return {codes.data(), scales.data(), biases.data()}; }
  AffineView view() const {
    return {shape, spec, dtype, codes.data(), scales.data(), biases.data()};
  }
};

// Rows less what their code stands for.
std::vector<float> code_errors(const CodeMaker& maker, std::span<const float> rows,
                               MatrixShape shape, AffineSpec spec);

// 1 / samples x sum over samples m and rows j of slopes[m][j]^2 (errors[j] . inputs[m])^2.
// slopes: [samples, shape.rows], inputs: [samples, shape.cols]. scratch: linear_scratch_floats(cols).
double weighted_output_error(std::span<const float> errors, MatrixShape shape,
                             std::span<const float> slopes, std::span<const float> inputs,
                             float* scratch);

}  // namespace qx
