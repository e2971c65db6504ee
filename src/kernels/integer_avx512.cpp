// Integer activations and their products with affine weights for AVX-512 with VNNI and VBMI.
//
// vpdpbusd adds four products of an unsigned byte (a code) and a signed byte (a plane of the
// activations) to a 32-bit lane. The two planes of precision exact cost two of them: the sum over
// the high plane is shifted by eight bits and the low plane added on top, all exact.
//
//   few rows of x   straight from the packed codes, lanes along k: four weight rows and four groups
//                   at a time. A step's sums are folded to one vector [4 groups][4 rows], which is
//                   what the four partial sums of the contract are.
//   many rows       a tile of weight rows is unpacked once to [K / 4][rows][4 bytes], lanes along
//                   the rows, and the inner kernel broadcasts four activations at a time; partial
//                   sums rest in the first-level cache between groups.
// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/integer.h"
#include "kernels/integer_avx512_few_inl.h"
#include "kernels/integer_avx512_tiles_inl.h"
#include "kernels/integer_groups_inl.h"

namespace qx {
namespace {

constexpr std::int64_t kFewRows = 4;  // largest M of the first way

// --- activations -----------------------------------------------------------------------

// a in [-32512, 32512] as 256 * high + low: low is a's lowest byte, read with its sign.
inline void store_codes(__m512i a, int planes, std::int64_t plane, std::int8_t* to) {
  __m512i high = a;
  if (planes == 2) {
    high = _mm512_srai_epi32(_mm512_add_epi32(a, _mm512_set1_epi32(128)), 8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + plane), _mm512_cvtepi32_epi8(a));
  }
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(high));
}

// max|x| of N * 16 columns; infinity and NaN, the largest, where there is one.
template <int N>
inline float largest_of(const float* x) {
  __m512i largest = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    // As integers, NaN is above infinity and that above all numbers.
    const __m512i v = _mm512_castps_si512(_mm512_loadu_ps(x + 16 * i));
    largest = _mm512_max_epu32(largest, _mm512_and_si512(v, _mm512_set1_epi32(0x7FFFFFFF)));
  }
  const unsigned bits = _mm512_reduce_max_epu32(largest);
  float max;
  __builtin_memcpy(&max, &bits, 4);
  return max;
}

// Writes the codes of N * 16 columns of x times inverse, and returns their sum.
template <int N>
inline int quantize_group(const float* x, float inverse, int planes, std::int64_t plane,
                          std::int8_t* codes) {
  const __m512 factor = _mm512_set1_ps(inverse);
  __m512i total = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    // Half to even.
    const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * i), factor));
    total = _mm512_add_epi32(total, a);
    store_codes(a, planes, plane, codes + 16 * i);
  }
  return _mm512_reduce_add_epi32(total);
}

// quantize_row() with groups of N * 16 columns.
template <int N>
std::int32_t quantize_row_of(const float* x, std::int64_t cols, int planes, std::int8_t* codes,
                             float* scales, float* sums, ApartElement* apart) {
  return quantize_groups(
      x, cols, 16 * N, planes, codes, scales, sums, apart,
      [](const float* from) { return largest_of<N>(from); },
      [&](const float* from, float inverse, std::int64_t plane, std::int8_t* to) {
        return quantize_group<N>(from, inverse, planes, plane, to);
      });
}

// --- choice ----------------------------------------------------------------------------

template <int Bits, int Planes, int M, bool kBF16>
void few_rows_of_group(const Job& job) {
  switch (job.w->group) {
    case 32:
      return few_rows<Bits, 32, Planes, M, kBF16>(job);
    case 64:
      return few_rows<Bits, 64, Planes, M, kBF16>(job);
    default:
      return few_rows<Bits, 128, Planes, M, kBF16>(job);
  }
}

template <int Bits, int Planes, int M = 1>
void linear_rows(const Job& job) {
  const std::int64_t rows = job.m_end - job.m_begin;
  if constexpr (M <= kFewRows) {
    if (rows != M) return linear_rows<Bits, Planes, M + 1>(job);
    if (job.w->scale_kind == ScaleKind::kBF16) {
      return few_rows_of_group<Bits, Planes, M, true>(job);
    }
    return few_rows_of_group<Bits, Planes, M, false>(job);
  } else {
    many_rows<Bits, Planes>(job);
  }
}

template <int Bits>
void linear_planes(const Job& job) {
  if (job.x->planes == 2) return linear_rows<Bits, 2>(job);
  return linear_rows<Bits, 1>(job);
}

}  // namespace

namespace integer_avx512 {

std::int32_t quantize_row(const float* x, std::int64_t cols, int group, int planes,
                          std::int8_t* codes, float* scales, float* sums, ApartElement* apart) {
  switch (group) {
    case 32:
      return quantize_row_of<2>(x, cols, planes, codes, scales, sums, apart);
    case 64:
      return quantize_row_of<4>(x, cols, planes, codes, scales, sums, apart);
    default:
      return quantize_row_of<8>(x, cols, planes, codes, scales, sums, apart);
  }
}

void linear_integer(const IntegerRows& x, std::int64_t m_begin, std::int64_t m_end,
                    const WeightRows& w, std::int64_t n_begin, std::int64_t n_end, float* out,
                    std::int64_t out_stride, float* scratch) {
  if (m_begin >= m_end) return;
  const Job job = {&x, m_begin, m_end, &w, n_begin, n_end, out, out_stride, scratch};
  switch (w.bits) {
    case 2:
      return linear_planes<2>(job);
    case 3:
      return linear_planes<3>(job);
    case 4:
      return linear_planes<4>(job);
    case 5:
      return linear_planes<5>(job);
    case 6:
      return linear_planes<6>(job);
    default:
      return linear_planes<8>(job);
  }
}

}  // namespace integer_avx512
}  // namespace qx