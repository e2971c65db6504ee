// The integer kernels over 256-bit registers, once for AVX2 and once for AVX2 with VNNI. A file of
// one instruction set defines QX_INTEGER_NAMESPACE and, before it includes this one, in an anonymous
// namespace within that namespace:
//   constexpr bool kHasDot           whether dot() is one exact instruction
//   __m256i dot(sum, codes, x)       sum + products of unsigned codes and signed x, four neighbours
//                                    into each 32-bit lane; only called when kHasDot
// Then it wraps quantize() and multiply(). Everything here has internal linkage and calls nothing but
// intrinsics.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/integer_avx2_codes_inl.h"
#include "kernels/integer_avx2_panels_inl.h"
#include "kernels/integer_avx2_stream_inl.h"
#include "kernels/integer_groups_inl.h"

namespace QX_INTEGER_NAMESPACE {
namespace {

// Rows of x in another form take two bytes a column each, and the copied row of weights at most one,
// of the 80 that scratch has.
static_assert(2 * kStreamRows + 1 <= 80);

// Up to this many rows of x go the first way.
template <int kBits>
constexpr int64_t kFewRows = kBits == 4 || kBits == 8 ? 4 : 2;

template <int kBits>
void multiply_bits(const IntegerRows& x, int64_t m_begin, int64_t m_end, const WeightRows& w,
                   int64_t n_begin, int64_t n_end, float* out, int64_t out_stride, float* scratch) {
  const Room room = divide(scratch, w.cols);
  const CodeRows rows = code_rows(w, n_end, room.last_row);
  if (m_end - m_begin <= kFewRows<kBits>) {
    if (x.planes == 2 && kXForm<kBits> != XForm::kWords) {
      stream_m<kBits, 2>(x, m_begin, m_end, rows, w, n_begin, n_end, out, out_stride, room.stream);
    } else {
      stream_m<kBits, 1>(x, m_begin, m_end, rows, w, n_begin, n_end, out, out_stride, room.stream);
    }
    return;
  }
  for (int64_t n = n_begin; n < n_end; n += kBlockPanels * kPanel) {
    const int64_t end = min_of(n + kBlockPanels * kPanel, n_end);
    for (int64_t m = m_begin; m < m_end; m += kBlockRows) {
      block<kBits>(x, m, min_of(kBlockRows, m_end - m), rows, w, n, end,
                   out + (m - m_begin) * out_stride + (n - n_begin), out_stride, room);
    }
  }
}

// KernelTable::linear_integer.
void multiply(const IntegerRows& x, int64_t m_begin, int64_t m_end, const WeightRows& w,
              int64_t n_begin, int64_t n_end, float* out, int64_t out_stride, float* scratch) {
  if (m_begin >= m_end || n_begin >= n_end) return;
  switch (w.bits) {
    case 2:
      multiply_bits<2>(x, m_begin, m_end, w, n_begin, n_end, out, out_stride, scratch);
      break;
    case 3:
      multiply_bits<3>(x, m_begin, m_end, w, n_begin, n_end, out, out_stride, scratch);
      break;
    case 4:
      multiply_bits<4>(x, m_begin, m_end, w, n_begin, n_end, out, out_stride, scratch);
      break;
    case 5:
      multiply_bits<5>(x, m_begin, m_end, w, n_begin, n_end, out, out_stride, scratch);
      break;
    case 6:
      multiply_bits<6>(x, m_begin, m_end, w, n_begin, n_end, out, out_stride, scratch);
      break;
    default:
      multiply_bits<8>(x, m_begin, m_end, w, n_begin, n_end, out, out_stride, scratch);
  }
}

// --- activations ---------------------------------------------------------------------------------

inline int largest_lane(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1)));
}
inline int sum_of_lanes(__m256i v) {
  __m128i m = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(m, _mm_shuffle_epi32(m, 0xB1)));
}

// Bytes of two registers of 16-bit values that came from packing pairs of 32-bit ones.
inline __m256i bytes_in_order(__m256i a, __m256i b) {
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b),
                                     _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// Writes the codes of a group of x times inverse, and returns their sum.
inline int quantize_group(const float* x, int group, float inverse, int planes, int64_t plane,
                          std::int8_t* codes) {
  const __m256 factor = _mm256_set1_ps(inverse);
  __m256i sum = _mm256_setzero_si256();
  for (int k = 0; k < group; k += 32) {
    __m256i a[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      a[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + k + 8 * i), factor));
      sum = _mm256_add_epi32(sum, a[i]);
    }
    const __m256i first = _mm256_packs_epi32(a[0], a[1]), second = _mm256_packs_epi32(a[2], a[3]);
    if (planes == 1) {
      store_32(codes + k, bytes_in_order(first, second));
      continue;
    }
    const __m256i half = _mm256_set1_epi16(128);
    store_32(codes + k, bytes_in_order(_mm256_srai_epi16(_mm256_add_epi16(first, half), 8),
                                       _mm256_srai_epi16(_mm256_add_epi16(second, half), 8)));
    store_32(codes + plane + k, bytes_in_order(_mm256_srai_epi16(_mm256_slli_epi16(first, 8), 8),
                                               _mm256_srai_epi16(_mm256_slli_epi16(second, 8), 8)));
  }
  return sum_of_lanes(sum);
}

// max|x| of a group; infinity and NaN, the largest, where there is one.
inline float largest_of(const float* x, int group) {
  __m256i largest = _mm256_setzero_si256();
  for (int i = 0; i < group; i += 8) {
    // As integers, the magnitudes of infinity and NaN are the largest.
    largest =
        _mm256_max_epi32(largest, _mm256_and_si256(load_32(x + i), _mm256_set1_epi32(0x7FFFFFFF)));
  }
  const int bits = largest_lane(largest);
  float max;
  __builtin_memcpy(&max, &bits, 4);
  return max;
}

// KernelTable::quantize_row.
std::int32_t quantize(const float* x, int64_t cols, int group, int planes, std::int8_t* codes,
                      float* scales, float* sums, ApartElement* apart) {
  return quantize_groups(
      x, cols, group, planes, codes, scales, sums, apart,
      [&](const float* from) { return largest_of(from, group); },
      [&](const float* from, float inverse, int64_t plane, std::int8_t* to) {
        return quantize_group(from, group, inverse, planes, plane, to);
      });
}

}  // namespace
}  // namespace QX_INTEGER_NAMESPACE
