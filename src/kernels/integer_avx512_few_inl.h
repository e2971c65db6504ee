// Part of integer_avx512.cpp: products with few rows of x, straight from the packed codes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/integer_avx512_codes_inl.h"

namespace qx {
namespace {

constexpr int kRowsAtOnce = 4;  // weight rows

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
      if constexpr (Planes == 2) {
        if (apart_count(*job.x, job.m_begin + m) > 0) {
          add_apart(*job.x, job.m_begin + m, w, n, width, out);
        }
      }
    }
  }
}

}  // namespace
}  // namespace qx
