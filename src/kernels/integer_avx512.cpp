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

namespace qx {
namespace {

constexpr std::int64_t kFewRows = 4;  // largest M of the first way
constexpr int kRowsAtOnce = 4;        // weight rows there
constexpr std::int64_t kChunk = 64;   // codes that one vector holds
constexpr std::int64_t kVector = 64;  // bytes
constexpr int kTileVectors = 2;       // many rows: weight rows in a tile, in vectors of 16
constexpr int kMicroRows = 8;         // and rows of x in the inner kernel
constexpr std::int64_t kTileRows = 16 * kTileVectors;

inline __mmask64 first_bytes(std::int64_t n) {
  return n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1;
}

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

// Group of N * 16 columns; returns nothing but writes codes, d and A.
template <int N>
inline void quantize_group(const float* x, int planes, std::int64_t plane, std::int8_t* codes,
                           float* scale, float* sum) {
  const float limit = planes == 2 ? kExactLimit : kFastLimit;
  __m512 v[N];
  __m512i largest = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    v[i] = _mm512_loadu_ps(x + 16 * i);
    // As integers, NaN is above infinity and that above all numbers.
    largest = _mm512_max_epu32(
        largest, _mm512_and_si512(_mm512_castps_si512(v[i]), _mm512_set1_epi32(0x7FFFFFFF)));
  }
  const unsigned bits = _mm512_reduce_max_epu32(largest);
  float max;
  __builtin_memcpy(&max, &bits, 4);
  const bool finite = bits < 0x7F800000u;
  if (!finite || max < kSmallestActivation) {
    *scale = finite ? 0.0f : __builtin_nanf("");
    *sum = 0.0f;
    for (int i = 0; i < N; ++i) store_codes(_mm512_setzero_si512(), planes, plane, codes + 16 * i);
    return;
  }
  *scale = max / limit;
  const __m512 inverse = _mm512_set1_ps(limit / max);
  __m512i total = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(v[i], inverse));  // half to even
    total = _mm512_add_epi32(total, a);
    store_codes(a, planes, plane, codes + 16 * i);
  }
  *sum = static_cast<float>(_mm512_reduce_add_epi32(total));
}

// --- weights ---------------------------------------------------------------------------

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

// --- few rows of x ---------------------------------------------------------------------

// A block is 128 codes in two vectors, a and b, arranged so that each quarter (group of 32), half
// (64) or all (128) of both belongs to one group: pieces of 16, 32 or 64 codes go to a and b by
// turns. Activations are put in the same order.
template <int Group>
struct Block {
  __m512i a, b;
  static Block arrange(__m512i first, __m512i second) {
    if constexpr (Group == 32) {
      return {_mm512_shuffle_i32x4(first, second, 0x88), _mm512_shuffle_i32x4(first, second, 0xDD)};
    } else if constexpr (Group == 64) {
      return {_mm512_shuffle_i32x4(first, second, 0x44), _mm512_shuffle_i32x4(first, second, 0xEE)};
    } else {
      return {first, second};
    }
  }
};

template <int Bits, int Group>
struct UnpackBlock {
  static constexpr int kBytes = 16 * Bits;
  static constexpr bool kOneLoad = kBytes <= 64;
  Unpack<Bits> unpack;
  __m512i to_a = Unpack<Bits>::spread(Group / 2, 0),
          to_b = Unpack<Bits>::spread(Group / 2, Group / 2);

  Block<Group> load(const std::byte* p) const {
    if constexpr (kOneLoad) {
      const __m512i packed = _mm512_maskz_loadu_epi8(first_bytes(kBytes), p);
      return {unpack.cut_out(packed, to_a), unpack.cut_out(packed, to_b)};
    } else {
      return Block<Group>::arrange(unpack.load(p), unpack.load(p + 8 * Bits));
    }
  }
  // The first `count` codes only, the rest zero.
  Block<Group> load_part(const std::byte* p, std::int64_t count) const {
    const std::int64_t first = count < kChunk ? count : kChunk;
    const __m512i low = unpack.load_part(p, first);
    return Block<Group>::arrange(low, count > kChunk
                                          ? unpack.load_part(p + 8 * Bits, count - kChunk)
                                          : _mm512_setzero_si512());
  }
};

// Scales or biases of four rows (stride elements apart) and four groups: [4 groups][4 rows].
inline __m512 load_4x4_bf16(const std::byte* p, std::int64_t stride) {
  const __m128i r0 = _mm_loadu_si64(p), r2 = _mm_loadu_si64(p + 4 * stride);
  const __m128d r01 =
      _mm_loadh_pd(_mm_castsi128_pd(r0), reinterpret_cast<const double*>(p + 2 * stride));
  const __m128d r23 =
      _mm_loadh_pd(_mm_castsi128_pd(r2), reinterpret_cast<const double*>(p + 6 * stride));
  const __m256i words = _mm256_set_m128i(_mm_castpd_si128(r23), _mm_castpd_si128(r01));
  // Word 4 r + g to the upper half of lane 4 g + r.
  const __m512i order =
      _mm512_setr_epi32(0 << 16, 4 << 16, 8 << 16, 12 << 16, 1 << 16, 5 << 16, 9 << 16, 13 << 16,
                        2 << 16, 6 << 16, 10 << 16, 14 << 16, 3 << 16, 7 << 16, 11 << 16, 15 << 16);
  return _mm512_castsi512_ps(
      _mm512_maskz_permutexvar_epi16(0xAAAAAAAAu, order, _mm512_castsi256_si512(words)));
}
// The same for any kind and `count` <= 4 groups.
inline __m512 load_4x4(ScaleKind kind, const std::byte* p, std::int64_t stride, __mmask8 count) {
  __m128 r[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    if (kind == ScaleKind::kF32) {
      r[i] = _mm_maskz_loadu_ps(count, p + 4 * i * stride);
    } else {
      const __m128i words = _mm_maskz_loadu_epi16(count, p + 2 * i * stride);
      r[i] = kind == ScaleKind::kF16
                 ? _mm_cvtph_ps(words)
                 : _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(words), 16));
    }
  }
  _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
  const __m256 low = _mm256_set_m128(r[1], r[0]), high = _mm256_set_m128(r[3], r[2]);
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

// Four sums of blocks to one vector, quarter g of which holds four partial sums of group g.
template <int Group>
inline __m512i fold_groups(const __m512i (&s)[Group / 32]) {
  if constexpr (Group == 32) {
    return s[0];
  } else if constexpr (Group == 64) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(s[0], s[1], 0x88),
                            _mm512_shuffle_i32x4(s[0], s[1], 0xDD));
  } else {
    const __m512i halves[2] = {_mm512_add_epi32(_mm512_shuffle_i32x4(s[0], s[1], 0x44),
                                                _mm512_shuffle_i32x4(s[0], s[1], 0xEE)),
                               _mm512_add_epi32(_mm512_shuffle_i32x4(s[2], s[3], 0x44),
                                                _mm512_shuffle_i32x4(s[2], s[3], 0xEE))};
    return fold_groups<64>(halves);
  }
}

// Quarter g of the result: the sums of quarter g of each of the four rows.
inline __m512i fold_rows(const __m512i (&r)[4]) {
  const __m512i a =
      _mm512_add_epi32(_mm512_unpacklo_epi32(r[0], r[1]), _mm512_unpackhi_epi32(r[0], r[1]));
  const __m512i b =
      _mm512_add_epi32(_mm512_unpacklo_epi32(r[2], r[3]), _mm512_unpackhi_epi32(r[2], r[3]));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

// One number a group to all lanes of its quarter.
inline __m512 spread_groups(const float* four) {
  const __m512i quarters = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return _mm512_permutexvar_ps(quarters, _mm512_castps128_ps512(_mm_load_ps(four)));
}

// Four rows of weights from one place.
struct FourRows {
  const std::byte* codes;
  const std::byte* scales;
  const std::byte* biases;
  std::int64_t code_stride;                // bytes; 0 when the same row is taken four times
  std::int64_t scale_stride;               // elements
  std::int64_t codes_ahead, scales_ahead;  // bytes
};

// Rows lie one after the other, so memory is fetched in its own order, whatever the order in which it
// is used: this far ahead, and at least four rows. The four streams of short rows that are read
// mislead the processor's own prefetching.
constexpr std::int64_t kAhead = 16384;  // bytes of codes

template <int kBytes>
inline void prefetch_ahead(const std::byte* p) {
#pragma GCC unroll 8
  for (int line = 0; line < kBytes; line += 64) _mm_prefetch(p + line, _MM_HINT_T0);
}

// A block of activations. Beyond the plane there is nothing, and the codes are zero.
template <int Group, bool kWhole>
inline Block<Group> load_x(const std::int8_t* x, std::int64_t left) {
  const __m512i first = _mm512_load_si512(x);
  return Block<Group>::arrange(
      first, kWhole || left > kChunk ? _mm512_load_si512(x + kChunk) : _mm512_setzero_si512());
}

// Four groups (kWhole) or `count` fewer, of four rows times M rows of x:
// p[m] += d * (scale * I + bias * A).
template <int Bits, int Group, int Planes, int M, bool kBF16, bool kWhole>
inline void few_step(const Job& job, const FourRows& rows, const UnpackBlock<Bits, Group>& unpack,
                     std::int64_t g, std::int64_t count, __m512 (&p)[M]) {
  const WeightRows& w = *job.w;
  constexpr int kBlocks = Group / 32;
  const std::int64_t plane = plane_bytes(w.cols), k = g * Group, columns = count * Group;
  const std::int8_t* x = job.x->codes + job.m_begin * job.x->row_bytes + k;
  __m512i sums[M][kRowsAtOnce][kBlocks];
#pragma GCC unroll 4
  for (int i = 0; i < kBlocks; ++i) {
    const std::int64_t left = columns - i * 2 * kChunk;
    if (!kWhole && left <= 0) {
      for (int r = 0; r < kRowsAtOnce; ++r) {
        for (int m = 0; m < M; ++m) sums[m][r][i] = _mm512_setzero_si512();
      }
      continue;
    }
    if constexpr (kWhole) {
      prefetch_ahead<kRowsAtOnce * UnpackBlock<Bits, Group>::kBytes>(
          rows.codes + kRowsAtOnce * (k + i * 2 * kChunk) / 8 * Bits + rows.codes_ahead);
    }
    Block<Group> xs[M][Planes];
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
      for (int q = 0; q < Planes; ++q) {
        xs[m][q] =
            load_x<Group, kWhole>(x + m * job.x->row_bytes + q * plane + i * 2 * kChunk, left);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRowsAtOnce; ++r) {
      const std::byte* from = rows.codes + r * rows.code_stride + (k + i * 2 * kChunk) / 8 * Bits;
      const Block<Group> c =
          kWhole || left >= 2 * kChunk ? unpack.load(from) : unpack.load_part(from, left);
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), c.a, xs[m][0].a);
        sum = _mm512_dpbusd_epi32(sum, c.b, xs[m][0].b);
        if constexpr (Planes == 2) {
          sum = _mm512_dpbusd_epi32(_mm512_slli_epi32(sum, 8), c.a, xs[m][1].a);
          sum = _mm512_dpbusd_epi32(sum, c.b, xs[m][1].b);
        }
        sums[m][r][i] = sum;
      }
    }
  }
  __m512 scale, bias;
  if constexpr (kBF16 && kWhole) {
    _mm_prefetch(rows.scales + 2 * kRowsAtOnce * g + rows.scales_ahead, _MM_HINT_T0);
    _mm_prefetch(rows.biases + 2 * kRowsAtOnce * g + rows.scales_ahead, _MM_HINT_T0);
    scale = load_4x4_bf16(rows.scales + 2 * g, rows.scale_stride);
    bias = load_4x4_bf16(rows.biases + 2 * g, rows.scale_stride);
  } else {
    const auto some = static_cast<__mmask8>((1 << count) - 1);
    const std::int64_t bytes = w.scale_kind == ScaleKind::kF32 ? 4 : 2;
    scale = load_4x4(w.scale_kind, rows.scales + g * bytes, rows.scale_stride, some);
    bias = load_4x4(w.scale_kind, rows.biases + g * bytes, rows.scale_stride, some);
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    __m512i folded[kRowsAtOnce];
#pragma GCC unroll 4
    for (int r = 0; r < kRowsAtOnce; ++r) folded[r] = fold_groups<Group>(sums[m][r]);
    const std::int64_t at = (job.m_begin + m) * job.x->groups_stride + g;
    const __m512 sum = _mm512_cvtepi32_ps(fold_rows(folded));
    const __m512 t =
        _mm512_fmadd_ps(scale, sum, _mm512_mul_ps(bias, spread_groups(job.x->sums + at)));
    const __m512 d = spread_groups(job.x->scales + at);
    if constexpr (kWhole) {
      p[m] = _mm512_fmadd_ps(d, t, p[m]);
    } else {
      const auto lanes = static_cast<__mmask16>((1u << (4 * count)) - 1u);
      p[m] = _mm512_mask3_fmadd_ps(d, t, p[m], lanes);
    }
  }
}

// (p0 + p2) + (p1 + p3) over the quarters: the four rows' results.
inline __m128 add_quarters(__m512 p) {
  const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(p), _mm512_extractf32x8_ps(p, 1));
  return _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
}

template <int Bits, int Group, int Planes, int M, bool kBF16>
void few_rows(const Job& job) {
  const WeightRows& w = *job.w;
  const UnpackBlock<Bits, Group> unpack;
  const std::int64_t groups = job.groups(), scale_bytes = w.scale_kind == ScaleKind::kF32 ? 4 : 2;
  const std::int64_t count = job.n_end - job.n_begin;
  // The last four rows may overlap those before. Fewer than four: one at a time, four times over.
  const int width = count < kRowsAtOnce ? 1 : kRowsAtOnce;
  const std::int64_t four_rows = kRowsAtOnce * job.row_bytes();
  const std::int64_t ahead = four_rows > kAhead ? four_rows : kAhead;
  for (std::int64_t i = 0; i < count; i += width) {
    const std::int64_t n = job.n_begin + (i + width <= count ? i : count - width);
    const FourRows rows = {w.values + n * job.row_bytes(),
                           w.scales + n * groups * scale_bytes,
                           w.biases + n * groups * scale_bytes,
                           width == 1 ? 0 : job.row_bytes(),
                           width == 1 ? 0 : groups,
                           ahead,
                           ahead * 16 / (Group * Bits)};
    __m512 p[M];
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) p[m] = _mm512_setzero_ps();
    std::int64_t g = 0;
    for (; g + 4 <= groups; g += 4) {
      few_step<Bits, Group, Planes, M, kBF16, true>(job, rows, unpack, g, 4, p);
    }
    if (g < groups) {
      few_step<Bits, Group, Planes, M, kBF16, false>(job, rows, unpack, g, groups - g, p);
    }
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      float* out = job.out + m * job.out_stride + (n - job.n_begin);
      _mm_mask_storeu_ps(out, static_cast<__mmask8>((1 << width) - 1), add_quarters(p[m]));
    }
  }
}

// --- many rows of x --------------------------------------------------------------------

// Weight rows in scratch, zeros beyond the last one.
struct Tile {
  std::byte* codes;  // [K / 4][kTileRows][4]
  float* scales;     // [groups][kTileRows]
  float* biases;
  float* partial;  // [4][kMicroRows][kTileRows]
  std::int64_t rows;
};

// Lane i of vector j and lane j of vector i change places.
inline void transpose_16x16(__m512i (&v)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
  // Now quarter q of v[4 i + j] holds column 4 q + j of rows 4 i .. 4 i + 3.
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    v[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    v[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    v[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88);  // columns j, 8 + j
    const __m512i b = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xDD);  // columns 4 + j, 12 + j
    const __m512i c = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xDD);
    t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xDD);
    t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

template <int Bits>
void unpack_codes(const WeightRows& w, std::int64_t n, const Tile& tile) {
  const Unpack<Bits> unpack;
  const std::int64_t row_bytes = w.cols / 8 * Bits;
  for (int block = 0; block < kTileVectors; ++block) {
    const std::byte* from = w.values + (n + 16 * block) * row_bytes;
    const std::int64_t rows = tile.rows - 16 * block;
    for (std::int64_t k = 0; k < w.cols; k += kChunk) {
      const std::int64_t count = w.cols - k < kChunk ? w.cols - k : kChunk;
      __m512i v[16];
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) {
        const std::byte* here = from + r * row_bytes + k * Bits / 8;
        v[r] = r >= rows         ? _mm512_setzero_si512()
               : count == kChunk ? unpack.load(here)
                                 : unpack.load_part(here, count);
      }
      transpose_16x16(v);
      std::byte* to = tile.codes + (k / 4 * kTileVectors + block) * kVector;
#pragma GCC unroll 16
      for (int q = 0; q < 16; ++q) {
        if (4 * q < count) _mm512_store_si512(to + q * kTileVectors * kVector, v[q]);
      }
    }
  }
}

// 16 numbers as float32, the first `count` of them real.
inline __m512 load_scales(ScaleKind kind, const std::byte* p, std::int64_t index,
                          std::int64_t count) {
  const auto some = static_cast<__mmask16>(count >= 16 ? 0xFFFFu : (1u << count) - 1u);
  if (kind == ScaleKind::kF32) return _mm512_maskz_loadu_ps(some, p + 4 * index);
  const __m256i words = _mm256_maskz_loadu_epi16(some, p + 2 * index);
  return kind == ScaleKind::kBF16 ? widen_bf16(words) : _mm512_cvtph_ps(words);
}

inline void unpack_scales(const Job& job, std::int64_t n, const Tile& tile, const std::byte* from,
                          float* to) {
  const std::int64_t groups = job.groups();
  for (int block = 0; block < kTileVectors; ++block) {
    for (std::int64_t g = 0; g < groups; g += 16) {
      __m512i v[16];
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) {
        const std::int64_t row = 16 * block + r;
        v[r] = row >= tile.rows ? _mm512_setzero_si512()
                                : _mm512_castps_si512(load_scales(
                                      job.w->scale_kind, from, (n + row) * groups + g, groups - g));
      }
      transpose_16x16(v);
      for (std::int64_t i = 0; i < 16 && g + i < groups; ++i) {
        _mm512_store_si512(to + (g + i) * kTileRows + 16 * block, v[i]);
      }
    }
  }
}

// Keeps the compiler from folding a load into each of its uses.
inline __m512i in_register(__m512i v) {
  __asm__("" : "+v"(v));
  return v;
}

// Rows of x, three to a base register.
template <int M>
struct XRows {
  static constexpr int kBases = (M + 2) / 3;
  const std::int8_t* base[kBases];
  std::int64_t stride;
  XRows(const std::int8_t* first, std::int64_t row_bytes) : stride(row_bytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kBases; ++i) base[i] = first + 3 * i * row_bytes;
  }
  void advance(std::int64_t bytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kBases; ++i) base[i] += bytes;
  }
  __m512i four(int m, int at) const {
    int word;
    __builtin_memcpy(&word, base[m / 3] + m % 3 * stride + at, 4);
    return in_register(_mm512_set1_epi32(word));
  }
};

constexpr int kUnrolledQuads = 4;  // a group has 8, 16 or 32

template <int M>
inline void dot_group(XRows<M> x, const std::byte* codes, int quads,
                      __m512i (&sums)[M * kTileVectors]) {
  constexpr int kBytes = kTileVectors * kVector;
  for (const std::byte* end = codes + quads * kBytes; codes != end;
       codes += kUnrolledQuads * kBytes) {
#pragma GCC unroll 4
    for (int q = 0; q < kUnrolledQuads; ++q) {
      __m512i w[kTileVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) {
        w[v] = in_register(_mm512_load_si512(codes + q * kBytes + v * kVector));
      }
#pragma GCC unroll 12
      for (int m = 0; m < M; ++m) {
        const __m512i a = x.four(m, 4 * q);
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) {
          sums[m * kTileVectors + v] = _mm512_dpbusd_epi32(sums[m * kTileVectors + v], w[v], a);
        }
      }
    }
    x.advance(4 * kUnrolledQuads);
  }
}

template <int Planes, int M>
void micro_kernel(const Job& job, const Tile& tile, std::int64_t m, std::int64_t n) {
  constexpr int V = kTileVectors;
  const IntegerRows& x = *job.x;
  const std::int64_t groups = job.groups(), plane = plane_bytes(x.cols);
  const int quads = job.w->group / 4;
  XRows<M> rows(x.codes + m * x.row_bytes, x.row_bytes);
  const float* a = x.sums + m * x.groups_stride;
  const float* d = x.scales + m * x.groups_stride;
  for (int i = 0; i < 4 * M * V; ++i) _mm512_store_ps(tile.partial + 16 * i, _mm512_setzero_ps());
  const std::byte* codes = tile.codes;
  for (std::int64_t g = 0; g < groups; ++g) {
    __m512i sums[M * V];
#pragma GCC unroll 32
    for (int i = 0; i < M * V; ++i) sums[i] = _mm512_setzero_si512();
    dot_group<M>(rows, codes, quads, sums);
    if constexpr (Planes == 2) {
#pragma GCC unroll 32
      for (int i = 0; i < M * V; ++i) sums[i] = _mm512_slli_epi32(sums[i], 8);
      XRows<M> low = rows;
      low.advance(plane);
      dot_group<M>(low, codes, quads, sums);
    }
    rows.advance(job.w->group);
    codes += quads * V * kVector;
    __m512 scale[V], bias[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      scale[v] = _mm512_load_ps(tile.scales + g * kTileRows + 16 * v);
      bias[v] = _mm512_load_ps(tile.biases + g * kTileRows + 16 * v);
    }
    float* partial = tile.partial + g % 4 * M * V * 16;
#pragma GCC unroll 12
    for (int i = 0; i < M; ++i) {
      const __m512 sum_x = _mm512_set1_ps(a[i * x.groups_stride + g]);
      const __m512 scale_x = _mm512_set1_ps(d[i * x.groups_stride + g]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        float* p = partial + (i * V + v) * 16;
        const __m512 t = _mm512_fmadd_ps(scale[v], _mm512_cvtepi32_ps(sums[i * V + v]),
                                         _mm512_mul_ps(bias[v], sum_x));
        _mm512_store_ps(p, _mm512_fmadd_ps(scale_x, t, _mm512_load_ps(p)));
      }
    }
  }
  for (int i = 0; i < M; ++i) {
    for (int v = 0; v < V; ++v) {
      const std::int64_t left = tile.rows - 16 * v;
      if (left <= 0) break;
      const float* p = tile.partial + (i * V + v) * 16;
      constexpr int kNext = M * V * 16;
      const __m512 even = _mm512_add_ps(_mm512_load_ps(p), _mm512_load_ps(p + 2 * kNext));
      const __m512 odd = _mm512_add_ps(_mm512_load_ps(p + kNext), _mm512_load_ps(p + 3 * kNext));
      const auto some = static_cast<__mmask16>(left >= 16 ? 0xFFFFu : (1u << left) - 1u);
      float* out = job.out + (m - job.m_begin + i) * job.out_stride + (n - job.n_begin) + 16 * v;
      _mm512_mask_storeu_ps(out, some, _mm512_add_ps(even, odd));
    }
  }
}

template <int Planes, int M>
inline void last_rows(const Job& job, const Tile& tile, std::int64_t m, std::int64_t n) {
  if constexpr (M > 0) {
    if (job.m_end - m == M) {
      micro_kernel<Planes, M>(job, tile, m, n);
    } else {
      last_rows<Planes, M - 1>(job, tile, m, n);
    }
  }
}

// Brings part i of `parts` of a region to the second-level cache.
inline void prefetch_part(const std::byte* p, std::int64_t bytes, std::int64_t i,
                          std::int64_t parts) {
  const std::int64_t end = (i + 1) * bytes / parts;
  for (std::int64_t at = i * bytes / parts / 64 * 64; at < end; at += 64) {
    _mm_prefetch(p + at, _MM_HINT_T1);
  }
}

// While a tile is multiplied, the next one comes from memory, a part with each block of rows of x.
inline void prefetch_tile(const Job& job, std::int64_t n, std::int64_t i, std::int64_t parts) {
  const WeightRows& w = *job.w;
  const std::int64_t rows = w.rows - n < kTileRows ? w.rows - n : kTileRows;
  if (rows <= 0) return;
  const std::int64_t scale_bytes = job.groups() * (w.scale_kind == ScaleKind::kF32 ? 4 : 2);
  prefetch_part(w.values + n * job.row_bytes(), rows * job.row_bytes(), i, parts);
  prefetch_part(w.scales + n * scale_bytes, rows * scale_bytes, i, parts);
  prefetch_part(w.biases + n * scale_bytes, rows * scale_bytes, i, parts);
}

template <int Bits, int Planes>
void many_rows(const Job& job) {
  const WeightRows& w = *job.w;
  Tile tile;
  tile.partial = job.scratch;
  tile.scales = tile.partial + 4 * kMicroRows * kTileRows;
  tile.biases = tile.scales + job.groups() * kTileRows;
  tile.codes = reinterpret_cast<std::byte*>(tile.biases + job.groups() * kTileRows);
  for (std::int64_t n = job.n_begin; n < job.n_end; n += kTileRows) {
    tile.rows = job.n_end - n < kTileRows ? job.n_end - n : kTileRows;
    unpack_codes<Bits>(w, n, tile);
    unpack_scales(job, n, tile, w.scales, tile.scales);
    unpack_scales(job, n, tile, w.biases, tile.biases);
    std::int64_t m = job.m_begin;
    const std::int64_t blocks = (job.m_end - job.m_begin + kMicroRows - 1) / kMicroRows;
    for (; m + kMicroRows <= job.m_end; m += kMicroRows) {
      prefetch_tile(job, n + kTileRows, (m - job.m_begin) / kMicroRows, blocks);
      micro_kernel<Planes, kMicroRows>(job, tile, m, n);
    }
    last_rows<Planes, kMicroRows - 1>(job, tile, m, n);
  }
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
  if constexpr (M <= kFewRows) {
    if (job.m_end - job.m_begin != M) return linear_rows<Bits, Planes, M + 1>(job);
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
  // Up to twice as many rows still cost less in two halves than by the second way, whose unpacking
  // takes as long as the multiplications of so few: the texts that a server makes at once.
  if (const std::int64_t rows = job.m_end - job.m_begin; rows > kFewRows && rows <= 2 * kFewRows) {
    Job half = job;
    half.m_end = job.m_begin + (rows + 1) / 2;
    linear_planes<Bits>(half);
    half.out = job.out + (half.m_end - job.m_begin) * job.out_stride;
    half.m_begin = half.m_end;
    half.m_end = job.m_end;
    return linear_planes<Bits>(half);
  }
  if (job.x->planes == 2) return linear_rows<Bits, 2>(job);
  return linear_rows<Bits, 1>(job);
}

}  // namespace

namespace integer_avx512 {

void quantize_row(const float* x, std::int64_t cols, int group, int planes, std::int8_t* codes,
                  float* scales, float* sums) {
  const std::int64_t plane = plane_bytes(cols), groups = cols / group;
  for (std::int64_t g = 0; g < groups; ++g) {
    const float* from = x + g * group;
    std::int8_t* to = codes + g * group;
    switch (group) {
      case 32:
        quantize_group<2>(from, planes, plane, to, scales + g, sums + g);
        break;
      case 64:
        quantize_group<4>(from, planes, plane, to, scales + g, sums + g);
        break;
      default:
        quantize_group<8>(from, planes, plane, to, scales + g, sums + g);
    }
  }
  for (std::int64_t k = cols; k < plane; ++k) {
    codes[k] = 0;
    if (planes == 2) codes[plane + k] = 0;
  }
  for (std::int64_t g = groups; g % 4 != 0; ++g) scales[g] = sums[g] = 0.0f;
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
