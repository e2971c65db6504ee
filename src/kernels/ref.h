// The kernels' meaning in double precision: the oracle of the tests. Slow, and free of any order
// of summation.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/api.h"

namespace qx {

// A value and the sum of the magnitudes it was added up from, to which rounding errors are
// proportional.
struct RefSum {
  double value = 0;
  double magnitude = 0;
};

RefSum ref_dot(const float* a, const float* b, std::int64_t n);

// Row `row` of w as float32, extracted bit by bit; affine: fma(scale, code, bias) in float32.
std::vector<float> ref_decode_row(const WeightRows& w, std::int64_t row);

// Row m of x, from its integers and its elements apart, times row n of w.
RefSum ref_integer_product(const IntegerRows& x, std::int64_t m, const WeightRows& w,
                           std::int64_t n);

std::vector<double> ref_rms_norm(const float* x, const float* weight, std::int64_t n, float eps);
std::vector<double> ref_rope(const float* head, const float* cosine, const float* sine,
                             std::int64_t n);
std::vector<double> ref_swiglu(const float* gate, const float* up, std::int64_t n);
// exp(scores - max); their sum.
std::vector<double> ref_softmax(const float* scores, std::int64_t count, double* sum);
// Index d: out[d] + sum_j probabilities[j] * values[j * value_stride + d].
std::vector<RefSum> ref_attention_values(const float* probabilities, const float* values,
                                         std::int64_t value_stride, std::int64_t count,
                                         std::int64_t head_dim, const float* out);
double ref_sum_exp(const float* logits, std::int64_t n, float max);

}  // namespace qx
