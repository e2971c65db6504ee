// The integer kernels over 256-bit registers, once for AVX2 and once for AVX2 with VNNI. A file of
// one instruction set defines, in an anonymous namespace of its namespace, before it includes this
// one:
//   constexpr bool kHasDot           whether dot() is one exact instruction
//   __m256i dot(sum, codes, x)       sum + products of unsigned codes and signed x, four neighbours
//                                    into each 32-bit lane; only called when kHasDot
// Then it wraps quantize() and multiply(). Everything here has internal linkage and calls nothing but
// intrinsics.
//
// Without kHasDot products of bytes are made by vpmaddubsw, which adds two neighbours in 16 bits
// with saturation. Codes have up to 2^bits - 1 and x at most 128 in magnitude, so one result is at
// most (2^bits - 1) * 256 in magnitude and this many may be added before 2^15 is reached:
//     bits 2: 42   bits 3: 18   bits 4: 8   bits 5: 4   bits 6: 2   (63 * 256 * 2 = 32256)
// kRun is a power of two not above that, and no more than 8, which are one group of 32 codes in four
// lanes: longer runs gained nothing. A code of 8 bits does not fit even once (255 * 256): such codes,
// and two planes where that is faster, go as 16-bit values through vpmaddwd, whose pair sums of at
// most 2 * 255 * 32512 are exact in 32 bits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/api.h"

// (Included inside the namespace of an instruction set would hide nothing: the macros name it.)
namespace QX_INTEGER_NAMESPACE {
namespace {

using std::int64_t;

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
inline float scale_at(ScaleKind kind, const std::byte* data, int64_t index) {
  if (kind == ScaleKind::kF32) {
    float value;
    __builtin_memcpy(&value, data + 4 * index, 4);
    return value;
  }
  std::uint16_t half;
  __builtin_memcpy(&half, data + 2 * index, 2);
  return _mm256_cvtss_f32(halves_to_float(kind, _mm_cvtsi32_si128(half)));
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

// --- few rows of x -------------------------------------------------------------------------------
// Bound by memory: codes go from the bit stream to registers and are used for all rows of x at once.
// The halves of a register belong to two rows of weights, whose sums over a group then lie in four
// lanes of each half; those of four groups are added to one register that holds [4 groups] x [2
// rows], as do the partial sums, the scales and the biases.

constexpr int kStreamRows = 2;  // of x
constexpr int kPairs = 2;       // of rows of weights

// How a kernel of kBits wants x: as it is; as 16-bit values; or as bytes whose even ones come before
// the odd ones in every 32, for the two nibbles of 16 bytes.
enum class XForm { kPlain, kWords, kEvenOdd };
template <int kBits>
constexpr XForm kXForm = kBits == 4               ? XForm::kEvenOdd
                         : kBits == 8 && !kHasDot ? XForm::kWords
                                                  : XForm::kPlain;

struct StreamX {
  const std::int8_t* codes;  // of the first row
  int64_t row_bytes, plane_bytes;
  const float *scales, *sums;
  int64_t groups_stride;
};

inline void write_even_odd(const std::int8_t* x, int64_t n, std::int8_t* out) {
  const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,  //
                                         0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  for (int64_t i = 0; i < n; i += 32) {
    store_32(out + i, _mm256_permute4x64_epi64(_mm256_shuffle_epi8(load_32(x + i), order), 0xD8));
  }
}

// kM rows of x from row m on in the form for kBits, in room if that is another.
template <int kBits>
StreamX stream_x(const IntegerRows& x, int64_t m, int64_t count, std::int8_t* room) {
  const int64_t plane = (x.cols + 63) / 64 * 64;
  StreamX out = {
      x.codes + m * x.row_bytes,    x.row_bytes,    plane, x.scales + m * x.groups_stride,
      x.sums + m * x.groups_stride, x.groups_stride};
  if constexpr (kXForm<kBits> == XForm::kWords) {
    for (int64_t i = 0; i < count; ++i) {
      write_words(x, m + i, 0, x.cols, reinterpret_cast<std::int16_t*>(room) + i * x.cols);
    }
    out.codes = room;
    out.row_bytes = 2 * x.cols;
  } else if constexpr (kXForm<kBits> == XForm::kEvenOdd) {
    for (int64_t i = 0; i < count * x.planes; ++i) {
      write_even_odd(out.codes + i / x.planes * x.row_bytes + i % x.planes * plane, x.cols,
                     room + i * plane);
    }
    out.codes = room;
    out.row_bytes = x.planes * plane;
  }
  return out;
}

// 32 codes of two rows in the order of the form of x.
template <int kBits>
inline void stream_codes(const std::byte* p, const std::byte* q, __m256i (&out)[2]) {
  if constexpr (kXForm<kBits> == XForm::kEvenOdd) {
    const __m256i bytes = pair_16(p, q), mask = _mm256_set1_epi8(15);
    out[0] = _mm256_and_si256(bytes, mask);
    out[1] = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
  } else {
    codes_of_pair<kBits>(p, q, out);
  }
}

inline void add_16(__m256i& sum, bool is_first, const __m256i (&u)[2], const std::int8_t* x) {
  const __m256i v = _mm256_add_epi16(_mm256_maddubs_epi16(u[0], twice_16(x)),
                                     _mm256_maddubs_epi16(u[1], twice_16(x + 16)));
  sum = is_first ? v : _mm256_add_epi16(sum, v);
  settle(sum);
}
inline void add_dot(__m256i& sum, bool is_first, const __m256i (&u)[2], const std::int8_t* x) {
  if (is_first) sum = _mm256_setzero_si256();
  sum = dot(dot(sum, u[0], twice_16(x)), u[1], twice_16(x + 16));
}
inline void add_words(__m256i& sum, bool is_first, const __m256i (&u)[2], const std::int8_t* x) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i products[4] = {
      _mm256_madd_epi16(_mm256_unpacklo_epi8(u[0], zero), twice_16(x)),
      _mm256_madd_epi16(_mm256_unpackhi_epi8(u[0], zero), twice_16(x + 16)),
      _mm256_madd_epi16(_mm256_unpacklo_epi8(u[1], zero), twice_16(x + 32)),
      _mm256_madd_epi16(_mm256_unpackhi_epi8(u[1], zero), twice_16(x + 48))};
  const __m256i v = _mm256_add_epi32(_mm256_add_epi32(products[0], products[1]),
                                     _mm256_add_epi32(products[2], products[3]));
  sum = is_first ? v : _mm256_add_epi32(sum, v);
  settle(sum);
}

// sum[i * kM + m]: sums of products over a group of pair i of rows with row m of x, in four lanes a
// half. x: column 0 of the group; p: its first byte in each row.
template <int kBits, int kPlanes, int kM, int kChunks>
inline void stream_group(const StreamX& x, int64_t k, const std::byte* const (&p)[2 * kPairs],
                         int64_t offset, __m256i* sum) {
  constexpr bool kWords = kXForm<kBits> == XForm::kWords;
  constexpr bool k16 = !kWords && !kHasDot;
  constexpr int kRunChunks = k16 && kRun<kBits> / 2 < kChunks ? kRun<kBits> / 2 : kChunks;
  const std::int8_t* codes = x.codes + k * (kWords ? 2 : 1);
  __m256i part[kPlanes][kPairs * kM];
#pragma GCC unroll 4
  for (int c = 0; c < kChunks; ++c) {
    const bool is_first = c % kRunChunks == 0, is_last = (c + 1) % kRunChunks == 0;
#pragma GCC unroll 2
    for (int i = 0; i < kPairs; ++i) {
      __m256i u[2];
      stream_codes<kBits>(p[2 * i] + offset + c * 4 * kBits, p[2 * i + 1] + offset + c * 4 * kBits,
                          u);
#pragma GCC unroll 2
      for (int m = 0; m < kM; ++m) {
        const std::int8_t* a = codes + m * x.row_bytes + 32 * c * (kWords ? 2 : 1);
#pragma GCC unroll 2
        for (int plane = 0; plane < kPlanes; ++plane) {
          __m256i& to = part[plane][i * kM + m];
          if constexpr (kWords) {
            add_words(to, is_first, u, a);
          } else if constexpr (kHasDot) {
            add_dot(to, is_first, u, a + plane * x.plane_bytes);
          } else {
            add_16(to, is_first, u, a + plane * x.plane_bytes);
          }
        }
      }
    }
    if (!is_last) continue;
#pragma GCC unroll 4
    for (int i = 0; i < kPairs * kM; ++i) {
      __m256i total = part[kPlanes - 1][i];
      if constexpr (k16) {
        total = _mm256_madd_epi16(total, _mm256_set1_epi16(1));
        if constexpr (kPlanes == 2) {
          total = _mm256_add_epi32(total, _mm256_madd_epi16(part[0][i], _mm256_set1_epi16(256)));
        }
      } else if constexpr (kPlanes == 2) {
        total = _mm256_add_epi32(total, _mm256_slli_epi32(part[0][i], 8));
      }
      sum[i] = c < kRunChunks ? total : _mm256_add_epi32(sum[i], total);
    }
  }
}

// The sum of each half of four registers, in the order a b c d.
inline __m256i sums_of_halves(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
  return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

inline __m256 four_twice(const float* p) {
  return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
}

inline void write_pair(__m256 partial, int valid, float* out) {
  const __m256 two = _mm256_add_ps(partial, _mm256_permute_ps(partial, 0x4E));  // 0+2 1+3
  const __m256 one = _mm256_add_ps(two, _mm256_permute_ps(two, 0xB1));
  if (valid > 0) out[0] = _mm256_cvtss_f32(one);
  if (valid > 1) out[1] = _mm_cvtss_f32(_mm256_extractf128_ps(one, 1));
}

// Products of kM rows of x with the weight rows from n on, 2 * kPairs of which the first valid are
// wanted and exist.
template <int kBits, int kPlanes, int kM, int kChunks>
void stream_rows(const StreamX& x, const CodeRows& rows, const WeightRows& w, int64_t n, int valid,
                 float* out, int64_t out_stride) {
  constexpr int kSums = kPairs * kM;
  constexpr int64_t kGroupBytes = 4 * kBits * kChunks;
  const std::byte* p[2 * kPairs];
  int64_t first[2 * kPairs];  // scales of the row
  const int64_t groups = w.cols / w.group;
#pragma GCC unroll 4
  for (int i = 0; i < 2 * kPairs; ++i) {
    const int64_t row = n + (i < valid ? i : valid - 1);
    p[i] = rows.row(row);
    first[i] = row * groups;
  }
  __m256 partial[kSums];
#pragma GCC unroll 4
  for (int i = 0; i < kSums; ++i) partial[i] = _mm256_setzero_ps();
  for (int64_t g = 0; g < groups; g += 4) {
    const int count = static_cast<int>(min_of(4, groups - g));
    for (int64_t i = 0; i < 4 * kGroupBytes; i += 64) {
#pragma GCC unroll 4
      for (int j = 0; j < 2 * kPairs; ++j) {
        _mm_prefetch(
            reinterpret_cast<const char*>(p[j]) + g * kGroupBytes + i + 2 * kPairs * rows.row_bytes,
            _MM_HINT_T0);
      }
    }
    __m256i dots[4][kSums];
    for (int i = 0; i < count; ++i) {
      stream_group<kBits, kPlanes, kM, kChunks>(x, (g + i) * w.group, p, (g + i) * kGroupBytes,
                                                dots[i]);
    }
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3);
    const __m256 present = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), index));
#pragma GCC unroll 2
    for (int i = 0; i < kPairs; ++i) {
      const int64_t a = first[2 * i] + g, b = first[2 * i + 1] + g;
      const __m256 scale = scales_of_pair(w.scale_kind, w.scales, a, b, count);
      const __m256 bias = scales_of_pair(w.scale_kind, w.biases, a, b, count);
#pragma GCC unroll 2
      for (int m = 0; m < kM; ++m) {
        const int j = i * kM + m;
        const __m256 dot =
            _mm256_cvtepi32_ps(sums_of_halves(dots[0][j], dots[1][j], dots[2][j], dots[3][j]));
        const __m256 d = four_twice(x.scales + m * x.groups_stride + g);
        const __m256 sum = four_twice(x.sums + m * x.groups_stride + g);
        const __m256 t = _mm256_fmadd_ps(scale, dot, _mm256_mul_ps(bias, sum));
        // What is not there must not be added: -0 + 0 is +0, and t may be NaN.
        partial[j] = _mm256_blendv_ps(partial[j], _mm256_fmadd_ps(d, t, partial[j]), present);
      }
    }
  }
#pragma GCC unroll 2
  for (int i = 0; i < kPairs; ++i) {
#pragma GCC unroll 2
    for (int m = 0; m < kM; ++m) {
      write_pair(partial[i * kM + m], valid - 2 * i, out + m * out_stride + 2 * i);
    }
  }
}

template <int kBits, int kPlanes, int kM>
void stream(const StreamX& x, const CodeRows& rows, const WeightRows& w, int64_t n_begin,
            int64_t n_end, float* out, int64_t out_stride) {
  constexpr int kRows = 2 * kPairs;
  for (int64_t n = n_begin; n < n_end; n += kRows, out += kRows) {
    const int valid = static_cast<int>(min_of(kRows, n_end - n));
    switch (w.group) {
      case 32:
        stream_rows<kBits, kPlanes, kM, 1>(x, rows, w, n, valid, out, out_stride);
        break;
      case 64:
        stream_rows<kBits, kPlanes, kM, 2>(x, rows, w, n, valid, out, out_stride);
        break;
      default:
        stream_rows<kBits, kPlanes, kM, 4>(x, rows, w, n, valid, out, out_stride);
        break;
    }
  }
}

template <int kBits, int kPlanes>
void stream_m(const IntegerRows& x, int64_t m_begin, int64_t m_end, const CodeRows& rows,
              const WeightRows& w, int64_t n_begin, int64_t n_end, float* out, int64_t out_stride,
              std::int8_t* room) {
  for (int64_t m = m_begin; m < m_end; m += kStreamRows, out += kStreamRows * out_stride) {
    const int64_t count = min_of(kStreamRows, m_end - m);
    const StreamX block = stream_x<kBits>(x, m, count, room);
    if (count == 1) {
      stream<kBits, kPlanes, 1>(block, rows, w, n_begin, n_end, out, out_stride);
    } else {
      stream<kBits, kPlanes, 2>(block, rows, w, n_begin, n_end, out, out_stride);
    }
  }
}

// --- many rows of x ------------------------------------------------------------------------------
// Bound by arithmetic. Weights are unpacked into panels of 16 rows: step by step, 4 bytes of each
// row, which are four codes or two 16-bit codes; a register holds a step of 8 rows, and four bytes
// of x are broadcast. The four partial sums of each output rest in scratch, so that columns are
// taken in blocks whose panel fits the first-level cache.

constexpr int kPanel = 16, kMicro = 4;
constexpr int64_t kPanelBytes = 16384;  // codes of a panel's block of columns
constexpr int64_t kBlockRows = 256;     // rows of x for which a panel is used
constexpr int64_t kBlockPanels = 8;     // panels for which a block of x is used

struct Panel {
  std::uint8_t* codes;     // [steps][kPanel][4]
  float *scales, *biases;  // [groups][kPanel]
  int64_t groups;
  int64_t first_group;
  int group;
  bool words;
};

// 16 columns of 8 rows from four registers, each of rows i and i + 4.
inline void store_steps(const __m256i (&u)[4], bool words, std::uint8_t* out) {
  const __m256i a = _mm256_unpacklo_epi32(u[0], u[1]), b = _mm256_unpackhi_epi32(u[0], u[1]);
  const __m256i c = _mm256_unpacklo_epi32(u[2], u[3]), d = _mm256_unpackhi_epi32(u[2], u[3]);
  const __m256i steps[4] = {_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c),
                            _mm256_unpacklo_epi64(b, d), _mm256_unpackhi_epi64(b, d)};
  constexpr int kStep = 4 * kPanel;
  if (!words) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) store_32(out + i * kStep, steps[i]);
    return;
  }
  const __m256i first =
      _mm256_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1,  //
                       0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1);
  const __m256i mask =
      _mm256_setr_epi8(2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1,  //
                       2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    store_32(out + 2 * i * kStep, _mm256_shuffle_epi8(steps[i], first));
    store_32(out + (2 * i + 1) * kStep, _mm256_shuffle_epi8(steps[i], mask));
  }
}

// Unpacks columns [k, k + cols) of the valid rows from n on; further rows repeat the last.
template <int kBits>
void unpack_panel(const CodeRows& rows, const WeightRows& w, int64_t n, int valid, int64_t k,
                  int64_t cols, Panel& panel) {
  const int64_t groups = w.cols / w.group;
  panel.first_group = k / w.group;
  panel.groups = cols / w.group;
  for (int half = 0; half < 2; ++half) {
    const std::byte* p[8];
    for (int i = 0; i < 8; ++i) {
      p[i] = rows.row(n + min_of(8 * half + i, valid - 1)) + k / 8 * kBits;
    }
    std::uint8_t* out = panel.codes + 32 * half;
    const int64_t step_of_16 = (panel.words ? 8 : 4) * 4 * kPanel;
    for (int64_t c = 0; c < cols; c += 32, out += 2 * step_of_16) {
      __m256i first[4], second[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        __m256i u[2];
        codes_of_pair<kBits>(p[i] + c / 8 * kBits, p[i + 4] + c / 8 * kBits, u);
        first[i] = u[0];
        second[i] = u[1];
      }
      store_steps(first, panel.words, out);
      store_steps(second, panel.words, out + step_of_16);
    }
  }
  for (int i = 0; i < kPanel; ++i) {
    const int64_t first = (n + min_of(i, valid - 1)) * groups + panel.first_group;
    for (int64_t g = 0; g < panel.groups; ++g) {
      panel.scales[g * kPanel + i] = scale_at(w.scale_kind, w.scales, first + g);
      panel.biases[g * kPanel + i] = scale_at(w.scale_kind, w.biases, first + g);
    }
  }
}

// kM rows of activations from the panel's first column on.
struct MicroX {
  const std::int8_t* codes;  // bytes of x, or its 16-bit values
  int64_t row_bytes, plane_bytes;
  int planes;
  const float *scales, *sums;  // of the panel's first group
  int64_t groups_stride;
};

// total += codes times x over steps steps of 4 bytes. kRunLength: how many products may be added in
// 16 bits; 0 for 16-bit values.
template <int kRunLength, int kM>
inline void add_products(const std::int8_t* x, int64_t row_bytes, const std::uint8_t* codes,
                         int steps, __m256i (&total)[2 * kM]) {
  constexpr int kStep = 4 * kPanel;
  if constexpr (kRunLength == 0 || kHasDot) {
#pragma GCC unroll 4
    for (int s = 0; s < steps; ++s) {
      const __m256i c0 = load_32(codes + s * kStep), c1 = load_32(codes + s * kStep + 32);
#pragma GCC unroll 4
      for (int m = 0; m < kM; ++m) {
        const __m256i a = splat_4(x + m * row_bytes + 4 * s);
        if constexpr (kRunLength == 0) {
          total[2 * m] = _mm256_add_epi32(total[2 * m], _mm256_madd_epi16(c0, a));
          total[2 * m + 1] = _mm256_add_epi32(total[2 * m + 1], _mm256_madd_epi16(c1, a));
        } else {
          total[2 * m] = dot(total[2 * m], c0, a);
          total[2 * m + 1] = dot(total[2 * m + 1], c1, a);
        }
        settle(total[2 * m]);
        settle(total[2 * m + 1]);
      }
    }
  } else {
    for (int begin = 0; begin < steps; begin += kRunLength) {
      __m256i sum[2 * kM];
#pragma GCC unroll 8
      for (int s = begin; s < begin + kRunLength; ++s) {
        const __m256i c0 = load_32(codes + s * kStep), c1 = load_32(codes + s * kStep + 32);
#pragma GCC unroll 4
        for (int m = 0; m < kM; ++m) {
          const __m256i a = splat_4(x + m * row_bytes + 4 * s);
          const __m256i p0 = _mm256_maddubs_epi16(c0, a), p1 = _mm256_maddubs_epi16(c1, a);
          sum[2 * m] = s == begin ? p0 : _mm256_add_epi16(sum[2 * m], p0);
          sum[2 * m + 1] = s == begin ? p1 : _mm256_add_epi16(sum[2 * m + 1], p1);
          settle(sum[2 * m]);
          settle(sum[2 * m + 1]);
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < 2 * kM; ++i) {
        total[i] = _mm256_add_epi32(total[i], _mm256_madd_epi16(sum[i], _mm256_set1_epi16(1)));
        settle(total[i]);
      }
    }
  }
}

// partial [kM][4][kPanel] += the panel's groups.
template <int kRunLength, int kM>
__attribute__((noinline)) void micro(const Panel& panel, const MicroX& x, float* partial) {
  const int steps = panel.group / (kRunLength == 0 ? 2 : 4);
  const int64_t group_bytes = static_cast<int64_t>(steps) * 4;  // of a row of x
  for (int64_t g = 0; g < panel.groups; ++g) {
    __m256i total[2 * kM];
#pragma GCC unroll 8
    for (int i = 0; i < 2 * kM; ++i) total[i] = _mm256_setzero_si256();
    const std::uint8_t* codes = panel.codes + g * group_bytes * kPanel;
    add_products<kRunLength, kM>(x.codes + g * group_bytes, x.row_bytes, codes, steps, total);
    if (kRunLength != 0 && x.planes == 2) {
#pragma GCC unroll 8
      for (int i = 0; i < 2 * kM; ++i) total[i] = _mm256_slli_epi32(total[i], 8);
      add_products<kRunLength, kM>(x.codes + x.plane_bytes + g * group_bytes, x.row_bytes, codes,
                                   steps, total);
    }
    float* q = partial + (panel.first_group + g) % 4 * kPanel;
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const __m256 scale = _mm256_loadu_ps(panel.scales + g * kPanel + 8 * v);
      const __m256 bias = _mm256_loadu_ps(panel.biases + g * kPanel + 8 * v);
#pragma GCC unroll 4
      for (int m = 0; m < kM; ++m) {
        const __m256 d = _mm256_broadcast_ss(x.scales + m * x.groups_stride + g);
        const __m256 a = _mm256_broadcast_ss(x.sums + m * x.groups_stride + g);
        const __m256 t =
            _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(total[2 * m + v]), _mm256_mul_ps(bias, a));
        float* to = q + m * 4 * kPanel + 8 * v;
        _mm256_storeu_ps(to, _mm256_fmadd_ps(d, t, _mm256_loadu_ps(to)));
      }
    }
  }
}

template <int kRunLength>
void micro_m(int64_t count, const Panel& panel, const MicroX& x, float* partial) {
  switch (count) {
    case 1:
      micro<kRunLength, 1>(panel, x, partial);
      break;
    case 2:
      micro<kRunLength, 2>(panel, x, partial);
      break;
    case 3:
      micro<kRunLength, 3>(panel, x, partial);
      break;
    default:
      micro<kRunLength, 4>(panel, x, partial);
      break;
  }
}

inline void write_panel(const float* partial, int valid, float* out) {
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    const float* p = partial + 8 * v;
    const __m256 even = _mm256_add_ps(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 2 * kPanel));
    const __m256 odd = _mm256_add_ps(_mm256_loadu_ps(p + kPanel), _mm256_loadu_ps(p + 3 * kPanel));
    const __m256 sum = _mm256_add_ps(even, odd);
    if (valid >= 8 * v + 8) {
      _mm256_storeu_ps(out + 8 * v, sum);
    } else {
      float rest[8];
      _mm256_storeu_ps(rest, sum);
      for (int i = 8 * v; i < valid; ++i) out[i] = rest[i - 8 * v];
    }
  }
}

// Where the parts lie in scratch, which has 2^20 + 80 * (cols + 64) bytes.
struct Room {
  std::byte* last_row;     // cols + kPastEnd bytes
  std::int8_t* stream;     // kStreamRows rows of x in another form; in the place of words
  std::int16_t* words;     // kBlockRows * (columns of a block)
  float* partial;          // [kBlockPanels][kBlockRows][4][kPanel]
  std::uint8_t* codes;     // kPanelBytes
  float *scales, *biases;  // a group is 32 codes of 16 bytes at least
};
constexpr int64_t kWordsBytes = kBlockRows * kPanelBytes / (2 * kPanel) * 2;
constexpr int64_t kPartialBytes = kBlockPanels * kBlockRows * 4 * kPanel * 4;
constexpr int64_t kScalesBytes = kPanelBytes / kPanel / 32 * kPanel * 4;
static_assert(kWordsBytes + kPartialBytes + kPanelBytes + 2 * kScalesBytes <= (1 << 20));
static_assert(kStreamRows * 2 + 1 <= 80);  // bytes a column, beside the 2^20

inline Room divide(float* scratch, int64_t cols) {
  auto* at = reinterpret_cast<std::byte*>(scratch);
  Room room;
  room.codes = reinterpret_cast<std::uint8_t*>(at);
  room.scales = reinterpret_cast<float*>(at += kPanelBytes);
  room.biases = reinterpret_cast<float*>(at += kScalesBytes);
  room.partial = reinterpret_cast<float*>(at += kScalesBytes);
  at += kPartialBytes;
  room.last_row = at;
  at += (cols + kPastEnd + 63) / 64 * 64;
  room.stream = reinterpret_cast<std::int8_t*>(at);
  room.words = reinterpret_cast<std::int16_t*>(at);
  return room;
}

// Rows [m, m + count) of x, at most kBlockRows, with the weight rows [n_begin, n_end), at most
// kBlockPanels panels.
template <int kBits>
void block(const IntegerRows& x, int64_t m, int64_t count, const CodeRows& rows,
           const WeightRows& w, int64_t n_begin, int64_t n_end, float* out, int64_t out_stride,
           const Room& room) {
  Panel panel = {room.codes, room.scales, room.biases, 0, 0, w.group, false};
  panel.words = !kHasDot && (kBits == 8 || (x.planes == 2));
  const int64_t most = kPanelBytes / kPanel / (panel.words ? 2 : 1);
  for (int64_t k = 0; k < w.cols; k += most) {
    const int64_t cols = min_of(most, w.cols - k);
    if (panel.words) {
      for (int64_t i = 0; i < count; ++i) write_words(x, m + i, k, cols, room.words + i * most);
    }
    for (int64_t n = n_begin; n < n_end; n += kPanel) {
      const int valid = static_cast<int>(min_of(kPanel, n_end - n));
      unpack_panel<kBits>(rows, w, n, valid, k, cols, panel);
      for (int64_t i = 0; i < count; i += kMicro) {
        // One block of columns: the partial sums stay in the first-level cache.
        float* partial = room.partial;
        if (cols < w.cols) partial += ((n - n_begin) * kBlockRows + i * kPanel) * 4;
        if (k == 0) __builtin_memset(partial, 0, kMicro * 4 * kPanel * sizeof(float));
        const int64_t row = (m + i) * x.groups_stride + panel.first_group;
        MicroX part = {x.codes + (m + i) * x.row_bytes + k,
                       x.row_bytes,
                       (x.cols + 63) / 64 * 64,
                       x.planes,
                       x.scales + row,
                       x.sums + row,
                       x.groups_stride};
        const int64_t here = min_of(kMicro, count - i);
        if (panel.words) {
          part.codes = reinterpret_cast<const std::int8_t*>(room.words + i * most);
          part.row_bytes = 2 * most;
          micro_m<0>(here, panel, part, partial);
        } else {
          micro_m<kRun<kBits>>(here, panel, part, partial);
        }
        if (k + cols == w.cols) {
          for (int64_t j = 0; j < here; ++j) {
            write_panel(partial + j * 4 * kPanel, valid,
                        out + (i + j) * out_stride + (n - n_begin));
          }
        }
      }
    }
  }
}

// Up to this many rows of x go the first way.
constexpr int64_t kFewRows = 3;

template <int kBits>
void multiply_bits(const IntegerRows& x, int64_t m_begin, int64_t m_end, const WeightRows& w,
                   int64_t n_begin, int64_t n_end, float* out, int64_t out_stride, float* scratch) {
  const Room room = divide(scratch, w.cols);
  const CodeRows rows = code_rows(w, n_end, room.last_row);
  if (m_end - m_begin <= kFewRows) {
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

// KernelTable::quantize_row.
void quantize(const float* x, int64_t cols, int group, int planes, std::int8_t* codes,
              float* scales, float* sums) {
  const float limit = planes == 2 ? kExactLimit : kFastLimit;
  const int64_t plane = (cols + 63) / 64 * 64, groups = cols / group;
  for (int64_t g = 0; g < groups; ++g, x += group) {
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < group; i += 8) {
      // As integers, the magnitudes of infinity and NaN are the largest.
      largest = _mm256_max_epi32(largest,
                                 _mm256_and_si256(load_32(x + i), _mm256_set1_epi32(0x7FFFFFFF)));
    }
    const int bits = largest_lane(largest);
    float max;
    __builtin_memcpy(&max, &bits, 4);
    if (bits >= 0x7F800000 || max < kSmallestActivation) {
      for (int i = 0; i < planes; ++i) {
        __builtin_memset(codes + i * plane + g * group, 0, static_cast<std::size_t>(group));
      }
      scales[g] = bits >= 0x7F800000 ? __builtin_nanf("") : 0.0f;
      sums[g] = 0.0f;
      continue;
    }
    scales[g] = max / limit;
    sums[g] =
        static_cast<float>(quantize_group(x, group, limit / max, planes, plane, codes + g * group));
  }
  for (int64_t g = groups; g % 4 != 0; ++g) scales[g] = sums[g] = 0.0f;
  for (int i = 0; i < planes; ++i) {
    __builtin_memset(codes + i * plane + cols, 0, static_cast<std::size_t>(plane - cols));
  }
}

}  // namespace
}  // namespace QX_INTEGER_NAMESPACE
