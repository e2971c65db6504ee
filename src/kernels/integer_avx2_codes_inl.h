// Part of integer_avx2_inl.h: loads, and codes from the bit stream to one a byte.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/api.h"
#include "kernels/x86_half_inl.h"
// after what it needs
#include "kernels/integer_apart_inl.h"

namespace QX_INTEGER_NAMESPACE {
namespace {

using std::int64_t;

// Without kHasDot products of bytes are made by vpmaddubsw, which adds two neighbours in 16 bits
// with saturation. Codes have up to 2^bits - 1 and x at most 128 in magnitude, so one result is at
// most (2^bits - 1) * 256 in magnitude and this many may be added before 2^15 is reached:
//     bits 2: 42   bits 3: 18   bits 4: 8   bits 5: 4   bits 6: 2   (63 * 256 * 2 = 32256)
// kRun is a power of two not above that, and no more than 8, which are one group of 32 codes in four
// lanes: longer runs gained nothing. A code of 8 bits does not fit even once (255 * 256): such codes,
// and two planes where many rows of x are multiplied, go as 16-bit values through vpmaddwd, whose
// pair sums of at most 2 * 255 * 32512 are exact in 32 bits.
template <int kBits>
constexpr int kRun = kBits <= 4   ? 8
                     : kBits == 5 ? 4
                                  : 2;

constexpr int64_t min_of(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// Here a running sum is complete. Without this the compiler adds the products of several steps in
// an order of its own, holds all of them, and runs out of registers.
inline void settle(__m256i& sum) {
  __asm__("" : "+x"(sum));
}

// --- loads -------------------------------------------------------------------------------------

inline __m128i load_16(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
inline __m256i load_32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline void store_32(void* p, __m256i v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), v);
}
// The 16 bytes at p in both halves.
inline __m256i twice_16(const void* p) {
  return _mm256_broadcastsi128_si256(load_16(p));
}
inline __m256i splat_4(const void* p) {
  int v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}
// 16 bytes at p and 16 at q; of a pair of rows.
inline __m256i pair_16(const void* p, const void* q) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(p)), load_16(q), 1);
}
inline __m256i pair_8(const void* p, const void* q) {
  long long a, b;
  __builtin_memcpy(&a, p, 8);
  __builtin_memcpy(&b, q, 8);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_cvtsi64_si128(a)), _mm_cvtsi64_si128(b),
                                 1);
}

// Four scales from index on of two rows that begin at index p and q; n < 4 reads only n, and gives
// zeros for the rest.
template <typename T>
inline void four_of_two(const std::byte* data, int64_t p, int64_t q, int n, T (&out)[8]) {
  if (n < 4) {
    __builtin_memset(out, 0, sizeof(out));
    __builtin_memcpy(out, data + p * sizeof(T), n * sizeof(T));
    __builtin_memcpy(out + 4, data + q * sizeof(T), n * sizeof(T));
  } else {
    __builtin_memcpy(out, data + p * sizeof(T), 4 * sizeof(T));
    __builtin_memcpy(out + 4, data + q * sizeof(T), 4 * sizeof(T));
  }
}
inline __m256 halves_to_float(ScaleKind kind, __m128i v) {
  if (kind == ScaleKind::kF16) return _mm256_cvtph_ps(v);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}
inline __m256 scales_of_pair(ScaleKind kind, const std::byte* data, int64_t p, int64_t q, int n) {
  if (kind == ScaleKind::kF32) {
    float values[8];
    four_of_two(data, p, q, n, values);
    return _mm256_loadu_ps(values);
  }
  if (n < 4) {
    std::uint16_t values[8];
    four_of_two(data, p, q, n, values);
    return halves_to_float(kind, load_16(values));
  }
  long long a, b;
  __builtin_memcpy(&a, data + 2 * p, 8);
  __builtin_memcpy(&b, data + 2 * q, 8);
  return halves_to_float(kind, _mm_unpacklo_epi64(_mm_cvtsi64_si128(a), _mm_cvtsi64_si128(b)));
}
// --- codes -------------------------------------------------------------------------------------

// Every 16 bits of x hold two neighbouring codes from bit 0; they go to a byte each.
template <int kBits>
inline __m256i split_pairs(__m256i x) {
  constexpr int kMask = (1 << kBits) - 1;
  return _mm256_or_si256(
      _mm256_and_si256(x, _mm256_set1_epi16(kMask)),
      _mm256_and_si256(_mm256_slli_epi16(x, 8 - kBits), _mm256_set1_epi16(kMask << 8)));
}

// In each half: 16 codes of 3, 5 or 6 bits that start at byte kFirst become a byte each. Four codes
// lie in up to 24 bits from bit 0 or 4 of a byte on: those go to 32 bits, then two and two codes
// apart, then one and one.
template <int kBits, int kFirst>
inline __m256i sixteen(__m256i bytes) {
  constexpr auto byte = [](int four) { return kFirst + 4 * kBits * four / 8; };
  constexpr auto select = [byte](int four) { return 0x020100 + byte(four) * 0x010101; };
  const __m256i spread =
      _mm256_shuffle_epi8(bytes, _mm256_setr_epi32(select(0), select(1), select(2), select(3),
                                                   select(0), select(1), select(2), select(3)));
  constexpr int kOdd = 4 * kBits % 8;
  constexpr int kUp = 16 - 2 * kBits;
  __m256i low = spread, high = _mm256_slli_epi32(spread, kUp);
  if constexpr (kOdd != 0) {
    low = _mm256_srlv_epi32(spread, _mm256_setr_epi32(0, kOdd, 0, kOdd, 0, kOdd, 0, kOdd));
    high = _mm256_sllv_epi32(spread, _mm256_setr_epi32(kUp, kUp - kOdd, kUp, kUp - kOdd, kUp,
                                                       kUp - kOdd, kUp, kUp - kOdd));
  }
  return split_pairs<kBits>(_mm256_blend_epi16(low, high, 0xAA));
}

// 32 codes of two rows, one a byte: out[0] holds codes 0 to 15 of row p, then of row q; out[1]
// codes 16 to 31. Reads up to 16 bytes from any byte of the codes on.
template <int kBits>
inline void codes_of_pair(const std::byte* p, const std::byte* q, __m256i (&out)[2]) {
  if constexpr (kBits == 8) {
    out[0] = pair_16(p, q);
    out[1] = pair_16(p + 16, q + 16);
  } else if constexpr (kBits == 4) {
    const __m256i bytes = pair_16(p, q), mask = _mm256_set1_epi8(15);
    const __m256i even = _mm256_and_si256(bytes, mask);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
    out[0] = _mm256_unpacklo_epi8(even, odd);
    out[1] = _mm256_unpackhi_epi8(even, odd);
  } else if constexpr (kBits == 2) {
    const __m256i bytes = pair_8(p, q), mask = _mm256_set1_epi8(3);
    const __m256i low = _mm256_and_si256(bytes, _mm256_set1_epi8(0x33));
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 2), _mm256_set1_epi8(0x33));
    // Codes 0 1 and 2 3 of every byte, as nibbles of neighbours.
    const __m256i first = _mm256_unpacklo_epi8(low, high);  // codes 0 2 | 1 3 of byte 0, ...
    const __m256i even = _mm256_and_si256(first, mask);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(first, 4), mask);
    // even: 0 1 4 5 8 9 ..; odd: 2 3 6 7 ..
    out[0] = _mm256_unpacklo_epi16(even, odd);
    out[1] = _mm256_unpackhi_epi16(even, odd);
  } else if constexpr (kBits == 3) {
    const __m256i bytes = pair_16(p, q);
    out[0] = sixteen<3, 0>(bytes);
    out[1] = sixteen<3, 6>(bytes);
  } else {
    out[0] = sixteen<kBits, 0>(pair_16(p, q));
    out[1] = sixteen<kBits, 0>(pair_16(p + 2 * kBits, q + 2 * kBits));
  }
}

// --- what both ways share ------------------------------------------------------------------------

// A matrix's rows of codes. The loads above read up to 16 bytes past the codes they want. Past all
// rows but the last lies the next one; the last is copied to where there is room.
struct CodeRows {
  const std::byte* values;
  int64_t row_bytes, copied;
  const std::byte* copy;
  const std::byte* row(int64_t n) const { return n == copied ? copy : values + n * row_bytes; }
};
constexpr int64_t kPastEnd = 32;

inline CodeRows code_rows(const WeightRows& w, int64_t n_end, std::byte* room) {
  const int64_t bytes = w.cols / 8 * w.bits;
  if (n_end == w.rows) {
    __builtin_memcpy(room, w.values + (w.rows - 1) * bytes, static_cast<std::size_t>(bytes));
    __builtin_memset(room + bytes, 0, kPastEnd);
  }
  return {w.values, bytes, w.rows - 1, room};
}

// The activations of one row as 16-bit values: n from column k on, n a multiple of 32.
inline void write_words(const IntegerRows& x, int64_t m, int64_t k, int64_t n, std::int16_t* out) {
  const std::int8_t* high = x.codes + m * x.row_bytes + k;
  if (x.planes == 1) {
    for (int64_t i = 0; i < n; i += 16) store_32(out + i, _mm256_cvtepi8_epi16(load_16(high + i)));
    return;
  }
  const std::int8_t* low = high + (x.cols + 63) / 64 * 64;
  for (int64_t i = 0; i < n; i += 16) {
    const __m256i h = _mm256_slli_epi16(_mm256_cvtepi8_epi16(load_16(high + i)), 8);
    store_32(out + i, _mm256_add_epi16(h, _mm256_cvtepi8_epi16(load_16(low + i))));
  }
}

}  // namespace
}  // namespace QX_INTEGER_NAMESPACE
