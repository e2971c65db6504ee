// Scale, bias and codes of one group that minimize a weighted squared error, rather than those that
// MLX's min-max rule gives. The result is stored and decoded as any other affine group.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/affine.h"
#include "tensor/dtype.h"

namespace qx {

struct GroupCode {
  float scale = 0, bias = 0;  // as stored: exactly representable in the scales' type
  float error = 0;            // sum of importance * (w - (scale * code + bias))^2
};

// w and importance: spec.group values each, finite, importance >= 0. Writes spec.group codes.
// Method (docs/fitting.md): both ends of the range move toward the weighted mean on a grid; from
// each pair, two rounds of weighted least squares for scale and bias given the codes; then the bias
// is rounded to dtype, the scale refitted and rounded, and the codes are computed from what is
// stored. The best is kept, MLX's own code (CPU rounding) included: the error is never above its.
// A weight that is NaN or infinite gives a scale of NaN.
// The bits depend on the arguments alone. Threads: pure.
GroupCode fit_group(const float* w, const float* importance, AffineSpec spec, DType dtype,
                    std::uint8_t* codes);

// The best few of fit_group's pairs of scale and bias, no two alike, least error first: at most `most`,
// at least one. A weight that is not finite gives one with a scale of NaN. Threads: pure.
int fit_candidates(const float* w, const float* importance, AffineSpec spec, DType dtype, int most,
                   GroupCode* out);

// The same sum for a given code, added in the same order.
float group_error(const float* w, const float* importance, int n, const std::uint8_t* codes,
                  float scale, float bias);

// float32 rounded to a float type and back.
float round_to(DType dtype, float value);

// n codes, a multiple of 8, to and from the LSB-first bit stream of affine.h.
void pack_codes(const std::uint8_t* codes, std::int64_t n, int bits, std::byte* out);
void unpack_codes(const std::byte* packed, std::int64_t n, int bits, std::uint8_t* codes);

}  // namespace qx
