// Part of integer_avx2_inl.h: products with few rows of x.
//
// Bound by memory: codes go from the bit stream to registers and are used for all rows of x at once.
// The halves of a register belong to two rows of weights, whose sums over a group then lie in four
// lanes of each half; those of four groups are added to one register that holds [4 groups] x [2
// rows], as do the partial sums, the scales and the biases.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/integer_avx2_codes_inl.h"

namespace QX_INTEGER_NAMESPACE {
namespace {

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
  const std::int8_t* triples;  // for 3 bits beside codes: see write_triples()
  const IntegerRows* rows;     // row 0 here is row m there
  int64_t m;
};

inline void write_even_odd(const std::int8_t* x, int64_t n, std::int8_t* out) {
  const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,  //
                                         0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  for (int64_t i = 0; i < n; i += 32) {
    store_32(out + i, _mm256_permute4x64_epi64(_mm256_shuffle_epi8(load_32(x + i), order), 0xD8));
  }
}

// For 3 bits, where 3 bytes hold 8 codes: every 128 bytes of x, [16 triples] x [8 codes], become [8
// codes] x [16 triples]. n: a multiple of 128.
inline void write_triples(const std::int8_t* x, int64_t n, std::int8_t* out) {
  const __m128i zip = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  for (int64_t i = 0; i < n; i += 128) {
    __m128i v[8], t[8];  // of pairs of triples
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) v[j] = _mm_shuffle_epi8(load_16(x + i + 16 * j), zip);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      t[j] = _mm_unpacklo_epi16(v[2 * j], v[2 * j + 1]);      // codes 0 to 3
      t[4 + j] = _mm_unpackhi_epi16(v[2 * j], v[2 * j + 1]);  // codes 4 to 7
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m128i* f = t + 4 * h;
      const __m128i a = _mm_unpacklo_epi32(f[0], f[1]), b = _mm_unpacklo_epi32(f[2], f[3]);
      const __m128i c = _mm_unpackhi_epi32(f[0], f[1]), d = _mm_unpackhi_epi32(f[2], f[3]);
      auto* to = reinterpret_cast<__m128i*>(out + i + 64 * h);
      _mm_storeu_si128(to, _mm_unpacklo_epi64(a, b));
      _mm_storeu_si128(to + 1, _mm_unpackhi_epi64(a, b));
      _mm_storeu_si128(to + 2, _mm_unpacklo_epi64(c, d));
      _mm_storeu_si128(to + 3, _mm_unpackhi_epi64(c, d));
    }
  }
}

// kM rows of x from row m on in the form for kBits, in room if that is another.
template <int kBits>
StreamX stream_x(const IntegerRows& x, int64_t m, int64_t count, std::int8_t* room) {
  const int64_t plane = (x.cols + 63) / 64 * 64;
  StreamX out = {x.codes + m * x.row_bytes,
                 x.row_bytes,
                 plane,
                 x.scales + m * x.groups_stride,
                 x.sums + m * x.groups_stride,
                 x.groups_stride,
                 nullptr,
                 &x,
                 m};
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
  } else if constexpr (kBits == 3) {
    for (int64_t i = 0; i < count * x.planes; ++i) {
      write_triples(out.codes + i / x.planes * x.row_bytes + i % x.planes * plane,
                    x.cols / 128 * 128, room + i * plane);
    }
    out.triples = room;
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

// The sum of each half of four registers, in the order a b c d.
inline __m256i sums_of_halves(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
  return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

// Bytes kClass, kClass + 3, .. of 48 of each of two rows, of which a, b and c hold 16 each.
template <int kClass>
inline __m256i every_third(__m256i a, __m256i b, __m256i c) {
  // Of the three bytes in a lane, one is wanted.
  constexpr auto in = [](int lane, int part) {
    return static_cast<char>((16 * part + lane) % 3 == kClass ? -1 : 0);
  };
  constexpr auto from = [](int i) { return static_cast<char>((3 * i + kClass) % 16); };
#define QX_LANES(f)                                                                            \
  _mm256_setr_epi8(f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11),   \
                   f(12), f(13), f(14), f(15), f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), \
                   f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15))
  constexpr auto in_b = [in](int lane) { return in(lane, 1); };
  constexpr auto in_c = [in](int lane) { return in(lane, 2); };
  const __m256i mixed =
      _mm256_blendv_epi8(_mm256_blendv_epi8(a, b, QX_LANES(in_b)), c, QX_LANES(in_c));
  return _mm256_shuffle_epi8(mixed, QX_LANES(from));
#undef QX_LANES
}

// Code kCode of 3 bits of every triple of bytes.
template <int kCode>
inline __m256i code_of_triple(const __m256i (&bytes)[3]) {
  constexpr int kByte = 3 * kCode / 8, kShift = 3 * kCode % 8;
  const __m256i mask = _mm256_set1_epi8(7);
  if constexpr (kShift <= 5) {
    if constexpr (kShift == 0) return _mm256_and_si256(bytes[kByte], mask);
    return _mm256_and_si256(_mm256_srli_epi16(bytes[kByte], kShift), mask);
  } else {
    constexpr int kLow = 8 - kShift;  // bits in the lower byte
    return _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(bytes[kByte], kShift),
                                            _mm256_set1_epi8((1 << kLow) - 1)),
                           _mm256_and_si256(_mm256_slli_epi16(bytes[kByte + 1], kLow),
                                            _mm256_set1_epi8(7 & ~((1 << kLow) - 1))));
  }
}

template <int kCode, int kPlanes, int kM>
inline void add_code_of_triple(const StreamX& x, int64_t k, const __m256i (&bytes)[3],
                               __m256i (&part)[kPlanes][kM]) {
  const __m256i u = code_of_triple<kCode>(bytes);
#pragma GCC unroll 2
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 2
    for (int plane = 0; plane < kPlanes; ++plane) {
      const std::int8_t* a = x.triples + (m * kPlanes + plane) * x.plane_bytes + k + 16 * kCode;
      __m256i& to = part[plane][m];
      if constexpr (kHasDot) {
        to = dot(kCode == 0 ? _mm256_setzero_si256() : to, u, twice_16(a));
      } else {
        const __m256i v = _mm256_maddubs_epi16(u, twice_16(a));
        to = kCode == 0 ? v : _mm256_add_epi16(to, v);  // 8 times at most 7 * 256
        settle(to);
      }
    }
  }
}

// sum[m]: products of 128 codes of 3 bits of two rows, from p and q on, with row m of x from column
// k on: those of the codes 32 i to 32 i + 31 in lane i of each half.
template <int kPlanes, int kM>
inline void stream_triples(const StreamX& x, int64_t k, const std::byte* p, const std::byte* q,
                           __m256i* sum) {
  const __m256i a = pair_16(p, q), b = pair_16(p + 16, q + 16), c = pair_16(p + 32, q + 32);
  const __m256i bytes[3] = {every_third<0>(a, b, c), every_third<1>(a, b, c),
                            every_third<2>(a, b, c)};
  __m256i part[kPlanes][kM];
  add_code_of_triple<0, kPlanes, kM>(x, k, bytes, part);
  add_code_of_triple<1, kPlanes, kM>(x, k, bytes, part);
  add_code_of_triple<2, kPlanes, kM>(x, k, bytes, part);
  add_code_of_triple<3, kPlanes, kM>(x, k, bytes, part);
  add_code_of_triple<4, kPlanes, kM>(x, k, bytes, part);
  add_code_of_triple<5, kPlanes, kM>(x, k, bytes, part);
  add_code_of_triple<6, kPlanes, kM>(x, k, bytes, part);
  add_code_of_triple<7, kPlanes, kM>(x, k, bytes, part);
#pragma GCC unroll 2
  for (int m = 0; m < kM; ++m) {
    __m256i total = part[kPlanes - 1][m];
    if constexpr (!kHasDot) {
      total = _mm256_madd_epi16(total, _mm256_set1_epi16(1));
      if constexpr (kPlanes == 2) {
        total = _mm256_add_epi32(total, _mm256_madd_epi16(part[0][m], _mm256_set1_epi16(256)));
      }
    } else if constexpr (kPlanes == 2) {
      total = _mm256_add_epi32(total, _mm256_slli_epi32(part[0][m], 8));
    }
    sum[m] = total;
  }
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
    for (int i = count; i < 4; ++i) {
      for (int j = 0; j < kSums; ++j) dots[i][j] = _mm256_setzero_si256();
    }
    if constexpr (kBits == 3) {
      // Four groups are kChunks times 128 codes.
      for (int c = 0; c < (count == 4 ? kChunks : 0); ++c) {
#pragma GCC unroll 2
        for (int i = 0; i < kPairs; ++i) {
          const int64_t offset = g * kGroupBytes + 48 * c;
          stream_triples<kPlanes, kM>(x, g * w.group + 128 * c, p[2 * i] + offset,
                                      p[2 * i + 1] + offset, dots[c] + i * kM);
        }
      }
    }
    for (int i = 0; i < (kBits == 3 && count == 4 ? 0 : count); ++i) {
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
        __m256i sums_of_four;
        if (kBits == 3 && kChunks == 1 && count == 4) {
          sums_of_four = dots[0][j];
        } else if (kBits == 3 && kChunks == 2 && count == 4) {
          sums_of_four = _mm256_hadd_epi32(dots[0][j], dots[1][j]);
        } else {
          sums_of_four = sums_of_halves(dots[0][j], dots[1][j], dots[2][j], dots[3][j]);
        }
        const __m256 dot = _mm256_cvtepi32_ps(sums_of_four);
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
#pragma GCC unroll 2
  for (int m = 0; m < kM; ++m) {
    if (apart_count(*x.rows, x.m + m) > 0) {
      add_apart(*x.rows, x.m + m, w, n, valid, out + m * out_stride);
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

}  // namespace
}  // namespace QX_INTEGER_NAMESPACE
