// The MLX affine code: what it is, its sizes, encode and decode. Bit for bit as MLX (docs/format.md).
//
// A weight matrix [rows, cols] is cut along its rows into groups of `group` values. A group stores one scale,
// one bias (both in the model's float type T) and `group` codes of `bits` bits:  value = scale * code + bias.
// Codes of a row are one LSB-first bit stream: bit k of code i is stream bit i*bits + k, and stream bit p is
// bit p & 7 of byte p >> 3. On disk: codes U32 [rows, cols*bits/32], scales and biases T [rows, cols/group].
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "tensor/dtype.h"

namespace qx {

struct AffineSpec {
  int bits = 4;    // 2 3 4 5 6 8
  int group = 64;  // 32 64 128
  bool operator==(const AffineSpec&) const = default;
};

bool is_valid(const AffineSpec& spec);

// Which of MLX's two encoders to reproduce. They differ on ties and on all-negative groups.
enum class Rounding { kCpu, kGpu };

struct MatrixShape {
  std::int64_t rows = 0, cols = 0;
};

// Sizes of one row. cols must be a multiple of spec.group.
constexpr std::int64_t code_bytes_per_row(std::int64_t cols, int bits) {
  return cols / 8 * bits;
}
constexpr std::int64_t groups_per_row(std::int64_t cols, int group) {
  return cols / group;
}
// Stored bytes of the whole matrix: codes, scales and biases.
std::int64_t affine_bytes(MatrixShape shape, AffineSpec spec, DType scale_dtype);

// A stored matrix, not owned. Every pointer may start at any byte.
struct AffineView {
  MatrixShape shape;
  AffineSpec spec;
  DType scale_dtype = DType::kBF16;
  const std::byte* codes = nullptr;   // [rows, code_bytes_per_row]
  const std::byte* scales = nullptr;  // [rows, cols / group] of scale_dtype
  const std::byte* biases = nullptr;  // the same
};

// Finds bits and group from stored shapes alone, as mlx-lm does for modules that config.json does not
// list: in = cols * 32 / bits for the one pair that fits. logical_cols: the catalog's input dimension.
// Nothing when no valid pair fits.
std::optional<AffineSpec> infer_affine_spec(std::int64_t packed_words, std::int64_t groups,
                                            std::int64_t logical_cols);

struct RowRange {
  std::int64_t begin = 0, end = 0;
};

// Where encode_rows puts its output, for rows 0 .. n_rows-1 of its input. Any alignment.
struct AffineOut {
  std::byte* codes = nullptr;
  std::byte* scales = nullptr;
  std::byte* biases = nullptr;
};

// Encodes n_rows rows of `cols` values of T, exactly as mx.quantize on weights of that type.
// Fails: returns the index of the first value that is NaN or infinite, as an element of the input;
// the output is then unspecified. Threads: pure.
std::optional<std::int64_t> encode_rows(DType dtype, const std::byte* values, MatrixShape shape,
                                        AffineSpec spec, Rounding rounding, AffineOut out);

// One group of float32 values, which need not be values of T, by the same rule with CPU rounding: scale
// and bias are rounded to dtype. Returns whether a value is NaN or infinite. Threads: pure.
bool encode_group(const float* values, AffineSpec spec, DType dtype, std::byte* codes,
                  std::byte* scale, std::byte* bias);

// Decodes rows to float32: fma(scale, code, bias) with scale and bias widened to float32; one rounding.
// out holds (range.end - range.begin) * cols elements. Threads: pure.
void decode_rows(const AffineView& view, RowRange range, std::span<float> out);

}  // namespace qx
