// The integer kernels for AVX2 with FMA and F16C; see integer_avx2_inl.h.
// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/integer.h"

namespace qx::integer_avx2 {
namespace {

constexpr bool kHasDot = false;
inline __m256i dot(__m256i sum, __m256i, __m256i) {
  return sum;
}

}  // namespace
}  // namespace qx::integer_avx2

#define QX_INTEGER_NAMESPACE qx::integer_avx2
#include "kernels/integer_avx2_inl.h"

namespace qx::integer_avx2 {

std::int32_t quantize_row(const float* x, std::int64_t cols, int group, int planes,
                          std::int8_t* codes, float* scales, float* sums, ApartElement* apart) {
  return quantize(x, cols, group, planes, codes, scales, sums, apart);
}

void linear_integer(const IntegerRows& x, std::int64_t m_begin, std::int64_t m_end,
                    const WeightRows& w, std::int64_t n_begin, std::int64_t n_end, float* out,
                    std::int64_t out_stride, float* scratch) {
  multiply(x, m_begin, m_end, w, n_begin, n_end, out, out_stride, scratch);
}

}  // namespace qx::integer_avx2
