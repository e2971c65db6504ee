// quantize_row() and linear_integer() for NEON, written once; integer_neon*.cpp include this file
// after they have defined, in an anonymous namespace, for their processors' instructions:
//   kSignedWeights      dot products take both sides signed: 8-bit codes go in as c - 128, and
//                       128 * A is added to the sum in integers; narrower codes are the same
//   dot(acc, w, x)      adds 16 products of bytes to the lanes of acc, to whichever it likes
//   kWeightStep, kActivationStep, group_sums(w, x, group, sums): many rows, see below
// Two ways, chosen by the number of rows of x:
//   few rows   (up to four planes of x) four weight rows at a time, unpacked in registers from the
//              stream and used for all planes; the four sums of a group become one vector, so that
//              the arithmetic in float32 is done for four rows at once;
//   many rows  a tile of weight rows is unpacked into scratch, as panels of 8 rows in the order
//              that the inner kernel reads; x goes beside it in blocks of 8 planes.
// Integer sums are exact, and everything after them is done lane by lane in the order of api.h: the
// same bits either way.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arm_neon.h>

#include "kernels/integer.h"
#include "kernels/neon_codes_inl.h"

namespace qx {
namespace {

inline float half_to_float(std::uint16_t half) {
  return vgetq_lane_f32(widen_f16(vdup_n_u16(half)), 0);
}

}  // namespace
}  // namespace qx

#include "kernels/integer_apart_inl.h"
#include "kernels/integer_groups_inl.h"

namespace qx {
namespace {

constexpr int kPanel = 8;                        // weight rows of a panel
constexpr int kStreams = 8;                      // planes of x in a block
constexpr std::int64_t kTileRows = 64;           // at most
constexpr std::int64_t kTileBytes = 384 * 1024;  // at most, unless one panel is larger
constexpr std::int64_t kPrefetchBytes = 768;     // ahead in each weight row

inline std::int64_t at_most(std::int64_t value, std::int64_t limit) {
  return value < limit ? value : limit;
}
inline int8x16_t load_codes(const std::int8_t* p) {
  return vld1q_s8(p);
}

// --- activations -----------------------------------------------------------------------

inline int32x4_t rounded(const float* x, float32x4_t inverse) {
  return vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x), inverse));  // to nearest, ties to even
}

// max|x| of a group; infinity and NaN, the largest, where there is one.
inline float largest_of(const float* x, int group) {
  // The bits of |x| as integers: infinity is above all numbers and NaN above infinity.
  uint32x4_t largest = vdupq_n_u32(0);
  for (int i = 0; i < group; i += 4) {
    largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
  }
  const std::uint32_t bits = vmaxvq_u32(largest);
  float max;
  __builtin_memcpy(&max, &bits, 4);
  return max;
}

// Writes the codes of a group of x times factor, and returns their sum.
inline int quantize_group(const float* x, float factor, int group, int planes, std::int64_t plane,
                          std::int8_t* codes) {
  const float32x4_t inverse = vdupq_n_f32(factor);
  int32x4_t total = vdupq_n_s32(0);
  for (int i = 0; i < group; i += 16) {
    const int32x4_t a0 = rounded(x + i, inverse), a1 = rounded(x + i + 4, inverse);
    const int32x4_t a2 = rounded(x + i + 8, inverse), a3 = rounded(x + i + 12, inverse);
    total = vaddq_s32(total, vaddq_s32(vaddq_s32(a0, a1), vaddq_s32(a2, a3)));
    const int16x8_t low = vcombine_s16(vmovn_s32(a0), vmovn_s32(a1));
    const int16x8_t high = vcombine_s16(vmovn_s32(a2), vmovn_s32(a3));
    // The lowest byte, which is low of 256 * high + low, and all there is of a single plane.
    vst1q_s8(codes + (planes == 2 ? plane : 0) + i, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
    if (planes == 2) {
      // (a + 128) >> 8; a + 128 is at most 32640 and stays in 16 bits.
      const int16x8_t half = vdupq_n_s16(128);
      vst1q_s8(codes + i, vcombine_s8(vshrn_n_s16(vaddq_s16(low, half), 8),
                                      vshrn_n_s16(vaddq_s16(high, half), 8)));
    }
  }
  return vaddvq_s32(total);
}

inline std::int32_t quantize_row(const float* x, std::int64_t cols, int group, int planes,
                                 std::int8_t* codes, float* scales, float* sums,
                                 ApartElement* apart) {
  return quantize_groups(
      x, cols, group, planes, codes, scales, sums, apart,
      [&](const float* from) { return largest_of(from, group); },
      [&](const float* from, float factor, std::int64_t plane, std::int8_t* to) {
        return quantize_group(from, factor, group, planes, plane, to);
      });
}

// --- weights ---------------------------------------------------------------------------

template <int Bits>
constexpr int kOffset = kSignedWeights&& Bits == 8 ? 128 : 0;

// 32 codes as the dot products take them.
template <int Bits>
inline Codes32 weights_32(const std::byte* p) {
  const Codes32 codes = unpack_32<Bits>(p);
  if constexpr (kOffset<Bits> != 0) {
    const uint8x16_t flip = vdupq_n_u8(0x80);
    return {veorq_u8(codes.first, flip), veorq_u8(codes.second, flip)};
  } else {
    return codes;
  }
}

// Four consecutive weight rows. Past the last one it is taken again and its results are dropped.
struct FourRows {
  const std::byte *codes[4], *scales[4], *biases[4];
  FourRows(const WeightRows& w, std::int64_t n, std::int64_t n_end) {
    const std::int64_t code_bytes = w.cols / 8 * w.bits;
    const std::int64_t scale_bytes = w.cols / w.group * (w.scale_kind == ScaleKind::kF32 ? 4 : 2);
    for (int r = 0; r < 4; ++r) {
      const std::int64_t row = at_most(n + r, n_end - 1);
      codes[r] = w.values + row * code_bytes;
      scales[r] = w.scales + row * scale_bytes;
      biases[r] = w.biases + row * scale_bytes;
    }
  }
};

template <ScaleKind Kind>
inline float32x4_t load_four(const std::byte* p) {
  if constexpr (Kind == ScaleKind::kF32) {
    return vreinterpretq_f32_u8(load_bytes_16(p));
  } else {
    const uint16x4_t v = vreinterpret_u16_u8(load_bytes_8(p));
    return Kind == ScaleKind::kBF16 ? widen_bf16(v) : widen_f16(v);
  }
}

// out[g * stride + r] = element g of row r, as float32; writes padded_groups() times four values.
template <ScaleKind Kind>
void widen_columns(const std::byte* const (&rows)[4], std::int64_t groups, float* out,
                   std::int64_t stride) {
  constexpr int kBytes = Kind == ScaleKind::kF32 ? 4 : 2;
  for (std::int64_t g = 0; g < groups; g += 4) {
    float32x4_t v[4];
    for (int r = 0; r < 4; ++r) {
      const std::byte* p = rows[r] + g * kBytes;
      std::byte padded[16] = {};
      if (g + 4 > groups) {
        __builtin_memcpy(padded, p, static_cast<std::size_t>((groups - g) * kBytes));
        p = padded;
      }
      v[r] = load_four<Kind>(p);
    }
    const float32x4_t even01 = vtrn1q_f32(v[0], v[1]), odd01 = vtrn2q_f32(v[0], v[1]);
    const float32x4_t even23 = vtrn1q_f32(v[2], v[3]), odd23 = vtrn2q_f32(v[2], v[3]);
    float* to = out + g * stride;
    vst1q_f32(to, vcombine_f32(vget_low_f32(even01), vget_low_f32(even23)));
    vst1q_f32(to + stride, vcombine_f32(vget_low_f32(odd01), vget_low_f32(odd23)));
    vst1q_f32(to + 2 * stride, vcombine_f32(vget_high_f32(even01), vget_high_f32(even23)));
    vst1q_f32(to + 3 * stride, vcombine_f32(vget_high_f32(odd01), vget_high_f32(odd23)));
  }
}

inline void widen_columns(ScaleKind kind, const std::byte* const (&rows)[4], std::int64_t groups,
                          float* out, std::int64_t stride) {
  switch (kind) {
    case ScaleKind::kF32:
      return widen_columns<ScaleKind::kF32>(rows, groups, out, stride);
    case ScaleKind::kF16:
      return widen_columns<ScaleKind::kF16>(rows, groups, out, stride);
    case ScaleKind::kBF16:
      return widen_columns<ScaleKind::kBF16>(rows, groups, out, stride);
  }
}

// --- results ---------------------------------------------------------------------------

// The sum of a group for four weight rows, from those of the planes.
template <int Planes, int Offset>
inline float32x4_t group_product(int32x4_t high, int32x4_t low, float sum) {
  int32x4_t total = Planes == 2 ? vaddq_s32(vshlq_n_s32(high, 8), low) : high;
  if constexpr (Offset != 0) {
    total = vaddq_s32(total, vdupq_n_s32(Offset * static_cast<std::int32_t>(sum)));
  }
  return vcvtq_f32_s32(total);
}
// p + d * (scale * product + bias * sum)
inline float32x4_t accumulate(float32x4_t p, float32x4_t product, float32x4_t scale,
                              float32x4_t bias, float d, float sum) {
  const float32x4_t t = vfmaq_f32(vmulq_n_f32(bias, sum), scale, product);
  return vfmaq_n_f32(p, t, d);
}
inline float32x4_t total_of(float32x4_t p0, float32x4_t p1, float32x4_t p2, float32x4_t p3) {
  return vaddq_f32(vaddq_f32(p0, p2), vaddq_f32(p1, p3));
}
inline void store_first(float* out, float32x4_t v, std::int64_t count) {
  if (count >= 4) {
    vst1q_f32(out, v);
    return;
  }
  float lanes[4];
  vst1q_f32(lanes, v);
  for (std::int64_t i = 0; i < count; ++i) out[i] = lanes[i];
}

struct IntegerJob {
  const IntegerRows* x;
  std::int64_t m_begin, m_end;
  const WeightRows* w;
  std::int64_t n_begin, n_end;
  float* out;
  std::int64_t out_stride;
  float* scratch;
  float* at(std::int64_t m, std::int64_t n) const {
    return out + (m - m_begin) * out_stride + (n - n_begin);
  }
};

// --- few rows --------------------------------------------------------------------------

// sums[s][r]: plane s of x times weight row r over one group, to be added up over the lanes.
template <int Bits, int S>
inline void direct_group(const std::byte* const (&rows)[4], std::int64_t offset,
                         const std::int8_t* const (&x)[S], std::int64_t k, int group,
                         int32x4_t (&sums)[S][4]) {
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) sums[s][r] = vdupq_n_s32(0);
  }
  for (int i = 0; i < group; i += 32) {
    int8x16_t first[S], second[S];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      first[s] = load_codes(x[s] + k + i);
      second[s] = load_codes(x[s] + k + i + 16);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const Codes32 codes = weights_32<Bits>(rows[r] + offset + i / 8 * Bits);
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        sums[s][r] = dot(dot(sums[s][r], codes.first, first[s]), codes.second, second[s]);
      }
    }
  }
}

inline int32x4_t add_lanes(const int32x4_t (&v)[4]) {
  return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]));
}

// Rows m .. m + M of x times four weight rows. scales, biases: [group][4].
template <int Bits, int M, int Planes>
void direct_block(const IntegerRows& x, std::int64_t m, const FourRows& rows, const float* scales,
                  const float* biases, float32x4_t (&result)[M]) {
  constexpr int S = M * Planes;
  const std::int8_t* planes[S];
  for (int s = 0; s < S; ++s) {
    planes[s] = x.codes + (m + s / Planes) * x.row_bytes + s % Planes * plane_bytes(x.cols);
  }
  const float* d = x.scales + m * x.groups_stride;
  const float* a = x.sums + m * x.groups_stride;
  float32x4_t p[4][M] = {};
  const std::int64_t groups = x.cols / x.group, group_bytes = x.group / 8 * Bits;
  for (std::int64_t g = 0; g < groups; ++g) {
    int32x4_t sums[S][4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      __builtin_prefetch(rows.codes[r] + g * group_bytes + kPrefetchBytes);
    }
    direct_group<Bits, S>(rows.codes, g * group_bytes, planes, g * x.group, x.group, sums);
    const float32x4_t scale = vld1q_f32(scales + 4 * g), bias = vld1q_f32(biases + 4 * g);
#pragma GCC unroll 4
    for (int i = 0; i < M; ++i) {
      const float sum = a[i * x.groups_stride + g];
      const float32x4_t product = group_product<Planes, kOffset<Bits>>(
          add_lanes(sums[i * Planes]), add_lanes(sums[i * Planes + Planes - 1]), sum);
      p[g % 4][i] = accumulate(p[g % 4][i], product, scale, bias, d[i * x.groups_stride + g], sum);
    }
  }
  for (int i = 0; i < M; ++i) result[i] = total_of(p[0][i], p[1][i], p[2][i], p[3][i]);
}

template <int Bits, int M, int Planes>
void multiply_direct(const IntegerJob& job) {
  const IntegerRows& x = *job.x;
  const std::int64_t groups = x.cols / x.group;
  float* scales = job.scratch;
  float* biases = scales + 4 * padded_groups(x.cols, x.group);
  for (std::int64_t n = job.n_begin; n < job.n_end; n += 4) {
    const FourRows rows(*job.w, n, job.n_end);
    widen_columns(job.w->scale_kind, rows.scales, groups, scales, 4);
    widen_columns(job.w->scale_kind, rows.biases, groups, biases, 4);
    float32x4_t result[M];
    direct_block<Bits, M, Planes>(x, job.m_begin, rows, scales, biases, result);
    for (int i = 0; i < M; ++i) {
      store_first(job.at(job.m_begin + i, n), result[i], job.n_end - n);
      if constexpr (Planes == 2) {
        if (apart_count(x, job.m_begin + i) > 0) {
          add_apart(x, job.m_begin + i, *job.w, n, at_most(4, job.n_end - n),
                    job.at(job.m_begin + i, n));
        }
      }
    }
  }
}

// --- many rows -------------------------------------------------------------------------
// A panel holds the codes of 8 weight rows as [k / kWeightStep][8][kWeightStep], a block of x those
// of 8 planes as [k / kActivationStep][8][kActivationStep]: 8 bytes a k either way. Then
//     group_sums(w, x, group, sums)   sums[s][h], lane l: plane s times weight row 4 h + l
// for a group that starts at w and x.

// One plane: plane s is that of row s. Two: rows in pairs, both high planes before both low ones,
// as the matrix instructions want them.
template <int Planes>
constexpr int row_of_stream(int s) {
  return Planes == 1 ? s : s / 4 * 2 + s % 2;
}
template <int Planes>
constexpr int stream_of_row(int i, int plane) {
  return Planes == 1 ? i : i / 2 * 4 + plane * 2 + i % 2;
}

// Step bytes each, to every eighth place of Step bytes; to is aligned to Step.
template <int Step>
inline void store_pieces(std::uint8_t* to, uint8x16_t v) {
  if constexpr (Step == 16) {
    vst1q_u8(to, v);
  } else if constexpr (Step == 8) {
    vst1_u8(to, vget_low_u8(v));
    vst1_u8(to + 64, vget_high_u8(v));
  } else {
    const uint8x8_t low = vget_low_u8(v), high = vget_high_u8(v);
    vst1_lane_u32(reinterpret_cast<std::uint32_t*>(to), vreinterpret_u32_u8(low), 0);
    vst1_lane_u32(reinterpret_cast<std::uint32_t*>(to + 32), vreinterpret_u32_u8(low), 1);
    vst1_lane_u32(reinterpret_cast<std::uint32_t*>(to + 64), vreinterpret_u32_u8(high), 0);
    vst1_lane_u32(reinterpret_cast<std::uint32_t*>(to + 96), vreinterpret_u32_u8(high), 1);
  }
}

template <int Bits>
void pack_panel(const WeightRows& w, std::int64_t n, std::int64_t n_end, std::byte* to) {
  for (int r = 0; r < kPanel; ++r) {
    const std::byte* row = w.values + at_most(n + r, n_end - 1) * (w.cols / 8 * Bits);
    auto* out = reinterpret_cast<std::uint8_t*>(to) + r * kWeightStep;
    for (std::int64_t k = 0; k < w.cols; k += 32) {
      const Codes32 codes = weights_32<Bits>(row + k / 8 * Bits);
      store_pieces<kWeightStep>(out + k * kPanel, codes.first);
      store_pieces<kWeightStep>(out + (k + 16) * kPanel, codes.second);
    }
  }
}

// Rows m .. of x, zeros from row m_end on.
template <int Planes>
void pack_activations(const IntegerRows& x, std::int64_t m, std::int64_t m_end, std::byte* to) {
  for (int s = 0; s < kStreams; ++s) {
    const std::int64_t row = m + row_of_stream<Planes>(s);
    const int plane = Planes == 1 ? 0 : s / 2 % 2;
    const std::int8_t* from = x.codes + row * x.row_bytes + plane * plane_bytes(x.cols);
    auto* out = reinterpret_cast<std::uint8_t*>(to) + s * kActivationStep;
    for (std::int64_t k = 0; k < x.cols; k += 16) {
      const uint8x16_t v = row < m_end ? vreinterpretq_u8_s8(load_codes(from + k)) : vdupq_n_u8(0);
      store_pieces<kActivationStep>(out + k * kStreams, v);
    }
  }
}

// Unpacked weights: panels, and the scales and biases of each as [group][8].
struct IntegerTile {
  std::byte* weights;
  std::byte* x;
  float* scales;
  float* biases;
  std::int64_t rows;
};

inline IntegerTile place_tile(std::int64_t cols, int group, float* scratch) {
  std::int64_t rows = kTileBytes / cols / kPanel * kPanel;
  rows = rows < kPanel ? kPanel : at_most(rows, kTileRows);
  const std::int64_t floats = rows * padded_groups(cols, group);
  // cols is a multiple of 32 and the others of 8, so that everything is aligned to 64 bytes.
  auto* bytes = reinterpret_cast<std::byte*>(scratch + 2 * floats);
  return {bytes, bytes + rows * cols, scratch, scratch + floats, rows};
}

template <int Bits>
void pack_tile(const WeightRows& w, std::int64_t n, std::int64_t n_end, const IntegerTile& tile) {
  const std::int64_t groups = w.cols / w.group, padded = padded_groups(w.cols, w.group);
  for (std::int64_t i = 0; n + i < n_end; i += kPanel) {
    pack_panel<Bits>(w, n + i, n_end, tile.weights + i * w.cols);
    for (int half = 0; half < kPanel; half += 4) {
      const FourRows rows(w, n + i + half, n_end);
      widen_columns(w.scale_kind, rows.scales, groups, tile.scales + i * padded + half, kPanel);
      widen_columns(w.scale_kind, rows.biases, groups, tile.biases + i * padded + half, kPanel);
    }
  }
}

// q [kPanel] of a row of x with the panel whose codes, scales and biases these are.
template <int Offset>
inline void multiply_apart(const ApartElement* e, const ApartElement* end, int group,
                           const std::byte* w, const float* scales, const float* biases,
                           float32x4_t (&q)[2]) {
  q[0] = q[1] = vdupq_n_f32(0.0f);
  for (; e != end; ++e) {
    const std::int64_t k = e->column, g = k / group;
    const std::byte* codes = w + k / kWeightStep * kPanel * kWeightStep + k % kWeightStep;
    float code[kPanel];
    for (int r = 0; r < kPanel; ++r) {
      // Codes that go into signed products have lost their offset.
      code[r] = static_cast<float>(static_cast<int>(codes[r * kWeightStep]) ^ Offset);
    }
    for (int h = 0; h < 2; ++h) {
      const float32x4_t weight =
          vfmaq_f32(vld1q_f32(biases + g * kPanel + 4 * h), vld1q_f32(scales + g * kPanel + 4 * h),
                    vld1q_f32(code + 4 * h));
      q[h] = vfmaq_n_f32(q[h], weight, e->value);
    }
  }
}

// One block of x times the panel whose first row is n.
template <int Planes, int Offset>
void multiply_panel(const IntegerJob& job, std::int64_t m, std::int64_t n, const std::byte* w,
                    const std::byte* xs, const float* scales, const float* biases) {
  constexpr int M = kStreams / Planes;
  const IntegerRows& x = *job.x;
  const std::int64_t groups = x.cols / x.group;
  const int rows = static_cast<int>(at_most(job.m_end - m, M));
  const float* d = x.scales + m * x.groups_stride;
  const float* a = x.sums + m * x.groups_stride;
  float32x4_t p[4][M][2] = {};
  for (std::int64_t g = 0; g < groups; ++g) {
    int32x4_t sums[kStreams][2];
    group_sums(w + g * x.group * kPanel, xs + g * x.group * kStreams, x.group, sums);
    for (int h = 0; h < 2; ++h) {
      const float32x4_t scale = vld1q_f32(scales + g * kPanel + 4 * h);
      const float32x4_t bias = vld1q_f32(biases + g * kPanel + 4 * h);
#pragma GCC unroll 8
      for (int i = 0; i < M; ++i) {
        if (i >= rows) break;
        const float sum = a[i * x.groups_stride + g];
        const float32x4_t product =
            group_product<Planes, Offset>(sums[stream_of_row<Planes>(i, 0)][h],
                                          sums[stream_of_row<Planes>(i, Planes - 1)][h], sum);
        float32x4_t& partial = p[g % 4][i][h];
        partial = accumulate(partial, product, scale, bias, d[i * x.groups_stride + g], sum);
      }
    }
  }
  for (int i = 0; i < rows; ++i) {
    const std::int32_t apart = Planes == 2 ? apart_count(x, m + i) : 0;
    float32x4_t q[2];
    if (apart > 0) {
      const ApartElement* first = apart_of(x, m + i);
      multiply_apart<Offset>(first, first + apart, x.group, w, scales, biases, q);
    }
    for (int h = 0; h < 2; ++h) {
      if (n + 4 * h >= job.n_end) break;
      float32x4_t total = total_of(p[0][i][h], p[1][i][h], p[2][i][h], p[3][i][h]);
      if (apart > 0) total = vaddq_f32(total, q[h]);
      store_first(job.at(m + i, n + 4 * h), total, job.n_end - n - 4 * h);
    }
  }
}

template <int Bits, int Planes>
void multiply_tiled(const IntegerJob& job) {
  const IntegerRows& x = *job.x;
  const IntegerTile tile = place_tile(x.cols, x.group, job.scratch);
  const std::int64_t padded = padded_groups(x.cols, x.group);
  for (std::int64_t n = job.n_begin; n < job.n_end; n += tile.rows) {
    const std::int64_t n_end = at_most(n + tile.rows, job.n_end);
    pack_tile<Bits>(*job.w, n, n_end, tile);
    for (std::int64_t m = job.m_begin; m < job.m_end; m += kStreams / Planes) {
      pack_activations<Planes>(x, m, job.m_end, tile.x);
      for (std::int64_t i = 0; n + i < n_end; i += kPanel) {
        multiply_panel<Planes, kOffset<Bits>>(job, m, n + i, tile.weights + i * x.cols, tile.x,
                                              tile.scales + i * padded, tile.biases + i * padded);
      }
    }
  }
}

// --- choice ----------------------------------------------------------------------------

template <int Bits, int Planes>
void multiply(const IntegerJob& job) {
  switch (job.m_end - job.m_begin) {
    case 1:
      return multiply_direct<Bits, 1, Planes>(job);
    case 2:
      return multiply_direct<Bits, 2, Planes>(job);
    default:
      break;
  }
  if constexpr (Planes == 1) {
    if (job.m_end - job.m_begin == 3) return multiply_direct<Bits, 3, 1>(job);
    if (job.m_end - job.m_begin == 4) return multiply_direct<Bits, 4, 1>(job);
  }
  multiply_tiled<Bits, Planes>(job);
}

template <int Bits>
void multiply(const IntegerJob& job) {
  job.x->planes == 1 ? multiply<Bits, 1>(job) : multiply<Bits, 2>(job);
}

inline void linear_integer(const IntegerRows& x, std::int64_t m_begin, std::int64_t m_end,
                           const WeightRows& w, std::int64_t n_begin, std::int64_t n_end,
                           float* out, std::int64_t out_stride, float* scratch) {
  if (m_begin >= m_end || n_begin >= n_end) return;
  const IntegerJob job = {&x, m_begin, m_end, &w, n_begin, n_end, out, out_stride, scratch};
  switch (w.bits) {
    case 2:
      return multiply<2>(job);
    case 3:
      return multiply<3>(job);
    case 4:
      return multiply<4>(job);
    case 5:
      return multiply<5>(job);
    case 6:
      return multiply<6>(job);
    default:
      return multiply<8>(job);
  }
}

}  // namespace
}  // namespace qx

// The two functions under the name of the instruction set, for the table.
#define QX_DEFINE_INTEGER(isa)                                                                     \
  namespace qx::isa {                                                                              \
  std::int32_t quantize_row(const float* x, std::int64_t cols, int group, int planes,              \
                            std::int8_t* codes, float* scales, float* sums, ApartElement* apart) { \
    return qx::quantize_row(x, cols, group, planes, codes, scales, sums, apart);                   \
  }                                                                                                \
  void linear_integer(const IntegerRows& x, std::int64_t m_begin, std::int64_t m_end,              \
                      const WeightRows& w, std::int64_t n_begin, std::int64_t n_end, float* out,   \
                      std::int64_t out_stride, float* scratch) {                                   \
    qx::linear_integer(x, m_begin, m_end, w, n_begin, n_end, out, out_stride, scratch);            \
  }                                                                                                \
  }
