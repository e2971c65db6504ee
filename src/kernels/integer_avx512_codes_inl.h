// Part of integer_avx512.cpp: what both ways share, a call and codes from the bit stream.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include "kernels/integer.h"
#include "kernels/x86_half_inl.h"
// after what it needs
#include "kernels/integer_apart_inl.h"

namespace qx {
namespace {

constexpr std::int64_t kChunk = 64;   // codes that one vector holds
constexpr std::int64_t kVector = 64;  // bytes

inline __mmask64 first_bytes(std::int64_t n) {
  return n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1;
}

// Where the bytes of 64 codes lie that go to one vector, and how they are cut out: each eight codes
// are `Bits` bytes, which go to one 64-bit lane.
template <int Bits>
struct Unpack {
  __m512i cut, mask, in_order;
  Unpack() {
    alignas(64) unsigned char from[64];
    for (int i = 0; i < 64; ++i) from[i] = static_cast<unsigned char>(i % 8 * Bits);
    cut = _mm512_load_si512(from);
    mask = _mm512_set1_epi8(static_cast<char>((1 << Bits) - 1));
    in_order = spread(64, 0);
  }
  // Lanes of `run` codes each, taken from every 2 * run codes, beginning with code `first`. With a
  // run of 64 all 64 codes are taken.
  static __m512i spread(int run, int first) {
    alignas(64) unsigned char at[64];
    for (int i = 0; i < 64; ++i) {
      const int code = first + i / run * 2 * run + i % run / 8 * 8;
      at[i] = static_cast<unsigned char>(code * Bits / 8 + i % 8 % Bits);
    }
    return _mm512_load_si512(at);
  }
  __m512i cut_out(__m512i packed, __m512i where) const {
    return _mm512_and_si512(
        _mm512_multishift_epi64_epi8(cut, _mm512_permutexvar_epi8(where, packed)), mask);
  }
  // 64 codes in their own order, from 8 * Bits bytes.
  __m512i load(const std::byte* p) const {
    if constexpr (Bits == 8) {
      return _mm512_loadu_si512(p);
    } else if constexpr (Bits == 4) {
      // Four bytes to a lane is what widening does.
      const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
      return _mm512_and_si512(_mm512_multishift_epi64_epi8(cut, _mm512_cvtepu32_epi64(v)), mask);
    } else {
      return cut_out(_mm512_maskz_loadu_epi8(first_bytes(8 * Bits), p), in_order);
    }
  }
  // The first `count` codes only, the rest zero.
  __m512i load_part(const std::byte* p, std::int64_t count) const {
    const __m512i packed = _mm512_maskz_loadu_epi8(first_bytes(count * Bits / 8), p);
    return Bits == 8 ? packed : cut_out(packed, in_order);
  }
};

struct Job {
  const IntegerRows* x;
  std::int64_t m_begin, m_end;
  const WeightRows* w;
  std::int64_t n_begin, n_end;
  float* out;
  std::int64_t out_stride;
  float* scratch;
  std::int64_t groups() const { return w->cols / w->group; }
  std::int64_t row_bytes() const { return w->cols / 8 * w->bits; }
};

inline __m512 widen_bf16(__m256i v) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

}  // namespace
}  // namespace qx
