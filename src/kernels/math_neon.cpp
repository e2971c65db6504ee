// The kernels for NEON as every aarch64 processor has it: the vector operations that
// math_vector_inl.h and linear_inl.h need, on four 4-lane registers, and the tables. Those of
// processors with dot products differ in the integer kernels only.
// SPDX-License-Identifier: Apache-2.0
#include <arm_neon.h>

#include "kernels/codec.h"
#include "kernels/integer.h"
#include "kernels/neon_codes_inl.h"
#include "kernels/tables.h"

namespace qx {
namespace {

struct V16 {
  float32x4_t a, b, c, d;  // lanes 0-3, 4-7, 8-11, 12-15
};

// Of 32 registers 24 hold sums in the inner kernels of linear() and of attention.
[[maybe_unused]] constexpr int kAttentionQueries = 2;
[[maybe_unused]] constexpr int kAttentionVectors = 3;
constexpr int kFusedRowsOfX = 4;
constexpr int fused_weight_rows(int m) {
  return m <= 2 ? 2 : 1;
}
constexpr int kPanelRows = 3;
constexpr int kMicroRows = 2;
constexpr std::int64_t kDepth = 1536;

inline float32x4_t in_register(float32x4_t v) {
  __asm__("" : "+w"(v));
  return v;
}
// Keeps the compiler from reading v from memory again at each use.
inline V16 in_register(V16 v) {
  return {in_register(v.a), in_register(v.b), in_register(v.c), in_register(v.d)};
}

inline V16 zero() {
  const float32x4_t z = vdupq_n_f32(0.0f);
  return {z, z, z, z};
}
inline V16 splat(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
inline V16 load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
// Lanes < n, zeros above; n may be any number.
inline float32x4_t load_quarter(const float* p, int n) {
  const float32x4_t z = vdupq_n_f32(0.0f);
  if (n >= 4) return vld1q_f32(p);
  if (n <= 0) return z;
  if (n == 1) return vld1q_lane_f32(p, z, 0);
  const float32x4_t pair = vcombine_f32(vld1_f32(p), vdup_n_f32(0.0f));
  return n == 2 ? pair : vld1q_lane_f32(p + 2, pair, 2);
}
inline V16 load_part(const float* p, int n) {
  return {load_quarter(p, n), load_quarter(p + 4, n - 4), load_quarter(p + 8, n - 8),
          load_quarter(p + 12, n - 12)};
}
inline void store(float* p, V16 v) {
  vst1q_f32(p, v.a);
  vst1q_f32(p + 4, v.b);
  vst1q_f32(p + 8, v.c);
  vst1q_f32(p + 12, v.d);
}
inline void store_quarter(float* p, float32x4_t v, int n) {
  if (n >= 4) {
    vst1q_f32(p, v);
    return;
  }
  if (n > 0) vst1q_lane_f32(p, v, 0);
  if (n > 1) vst1q_lane_f32(p + 1, v, 1);
  if (n > 2) vst1q_lane_f32(p + 2, v, 2);
}
inline void store_part(float* p, V16 v, int n) {
  store_quarter(p, v.a, n);
  store_quarter(p + 4, v.b, n - 4);
  store_quarter(p + 8, v.c, n - 8);
  store_quarter(p + 12, v.d, n - 12);
}
inline V16 add(V16 x, V16 y) {
  return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
}
inline V16 sub(V16 x, V16 y) {
  return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
}
inline V16 mul(V16 x, V16 y) {
  return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
}
inline V16 div(V16 x, V16 y) {
  return {vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b), vdivq_f32(x.c, y.c), vdivq_f32(x.d, y.d)};
}
// The intrinsic takes the addend first.
inline V16 fma(V16 x, V16 y, V16 z) {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
          vfmaq_f32(z.d, x.d, y.d)};
}

// All bits set where a lane takes the first of two values.
struct Mask {
  uint32x4_t a, b, c, d;
};
inline V16 select(Mask m, V16 x, V16 y) {
  return {vbslq_f32(m.a, x.a, y.a), vbslq_f32(m.b, x.b, y.b), vbslq_f32(m.c, x.c, y.c),
          vbslq_f32(m.d, x.d, y.d)};
}
inline Mask mask_of(int n) {
  const std::int32_t first[4] = {0, 1, 2, 3};
  const int32x4_t index = vld1q_s32(first);
  return {vcltq_s32(index, vdupq_n_s32(n)), vcltq_s32(index, vdupq_n_s32(n - 4)),
          vcltq_s32(index, vdupq_n_s32(n - 8)), vcltq_s32(index, vdupq_n_s32(n - 12))};
}
inline Mask less(V16 x, V16 y) {
  return {vcltq_f32(x.a, y.a), vcltq_f32(x.b, y.b), vcltq_f32(x.c, y.c), vcltq_f32(x.d, y.d)};
}
inline Mask equal(V16 x, V16 y) {
  return {vceqq_f32(x.a, y.a), vceqq_f32(x.b, y.b), vceqq_f32(x.c, y.c), vceqq_f32(x.d, y.d)};
}

inline V16 first_lanes(V16 x, V16 y, int n) {
  return select(mask_of(n), x, y);
}
inline V16 fma_part(V16 x, V16 y, V16 z, int n) {
  return first_lanes(fma(x, y, z), z, n);
}
// Not the instruction FMAX, which gives NaN where either is.
inline V16 max_of(V16 x, V16 y) {
  return select(less(y, x), x, y);
}
inline V16 negate(V16 x) {
  return {vnegq_f32(x.a), vnegq_f32(x.b), vnegq_f32(x.c), vnegq_f32(x.d)};
}
inline float32x4_t add_exponent(float32x4_t y, float32x4_t t) {
  return vreinterpretq_f32_u32(
      vaddq_u32(vreinterpretq_u32_f32(y), vshlq_n_u32(vreinterpretq_u32_f32(t), 23)));
}
inline V16 add_exponent(V16 y, V16 t) {
  return {add_exponent(y.a, t.a), add_exponent(y.b, t.b), add_exponent(y.c, t.c),
          add_exponent(y.d, t.d)};
}
inline V16 where_less(V16 x, V16 limit, V16 yes, V16 no) {
  return select(less(x, limit), yes, no);
}
inline V16 where_greater(V16 x, V16 limit, V16 yes, V16 no) {
  return select(less(limit, x), yes, no);
}
inline V16 where_nan(V16 x, V16 yes, V16 no) {
  return select(equal(x, x), no, yes);
}
inline unsigned equal_lanes(V16 x, V16 y) {
  const std::uint32_t bit[4] = {1, 2, 4, 8};
  const uint32x4_t bits = vld1q_u32(bit);
  const Mask m = equal(x, y);
  return vaddvq_u32(vandq_u32(m.a, bits)) | vaddvq_u32(vandq_u32(m.b, bits)) << 4 |
         vaddvq_u32(vandq_u32(m.c, bits)) << 8 | vaddvq_u32(vandq_u32(m.d, bits)) << 12;
}

// --- sums ------------------------------------------------------------------------------

inline float32x4_t fold_4(V16 x) {
  return vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
}
// [x0 + x2, x1 + x3, y0 + y2, y1 + y3]
inline float32x4_t fold_2(float32x4_t x, float32x4_t y) {
  return vaddq_f32(vcombine_f32(vget_low_f32(x), vget_low_f32(y)),
                   vcombine_f32(vget_high_f32(x), vget_high_f32(y)));
}
// out[i] = reduce16(acc[i]) for four vectors at once.
inline float32x4_t reduce_4(V16 x0, V16 x1, V16 x2, V16 x3) {
  return vpaddq_f32(fold_2(fold_4(x0), fold_4(x1)), fold_2(fold_4(x2), fold_4(x3)));
}

template <int N>
inline void reduce(const V16* acc, float* out) {
  constexpr int kFull = N / 4 * 4;
#pragma GCC unroll 4
  for (int i = 0; i < kFull; i += 4) {
    vst1q_f32(out + i, reduce_4(acc[i], acc[i + 1], acc[i + 2], acc[i + 3]));
  }
  if constexpr (N > kFull) {
    constexpr int kLast = N - 1, kNext = kFull + 1 < N ? kFull + 1 : kLast;
    float sums[4];
    vst1q_f32(sums, reduce_4(acc[kFull], acc[kNext], acc[kLast], acc[kLast]));
    for (int i = kFull; i < N; ++i) out[i] = sums[i - kFull];
  }
}

// One quarter of the sums: 4 of the 16 k.
template <int M, float32x4_t V16::*Quarter>
inline void micro_quarter(const float* x, std::int64_t x_stride, const float* w,
                          V16 (&acc)[M * kPanelRows]) {
  float32x4_t v[M];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) v[m] = in_register(vld1q_f32(x + m * x_stride));
#pragma GCC unroll 8
  for (int r = 0; r < kPanelRows; ++r) {
    const float32x4_t weight = in_register(vld1q_f32(w + r * 16));
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      float32x4_t& sum = acc[m * kPanelRows + r].*Quarter;
      sum = vfmaq_f32(sum, weight, v[m]);
    }
  }
}
template <int M>
inline void micro_step(const float* x, std::int64_t x_stride, const float* w,
                       V16 (&acc)[M * kPanelRows]) {
  micro_quarter<M, &V16::a>(x, x_stride, w, acc);
  micro_quarter<M, &V16::b>(x + 4, x_stride, w + 4, acc);
  micro_quarter<M, &V16::c>(x + 8, x_stride, w + 8, acc);
  micro_quarter<M, &V16::d>(x + 12, x_stride, w + 12, acc);
}

// Each of Q numbers times each of B vectors, a quarter at a time.
template <int Q, int B, float32x4_t V16::*Quarter>
inline void attention_quarter(const float32x4_t (&factor)[Q], const float* b, std::int64_t b_vector,
                              V16 (&acc)[Q * B]) {
#pragma GCC unroll 8
  for (int v = 0; v < B; ++v) {
    const float32x4_t w = in_register(vld1q_f32(b + v * b_vector));
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      float32x4_t& sum = acc[q * B + v].*Quarter;
      sum = vfmaq_f32(sum, factor[q], w);
    }
  }
}
template <int Q, int B>
inline void attention_step(const float* a, std::int64_t a_stride, const float* b,
                           std::int64_t b_vector, V16 (&acc)[Q * B]) {
  float32x4_t factor[Q];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) factor[q] = in_register(vld1q_dup_f32(a + q * a_stride));
  attention_quarter<Q, B, &V16::a>(factor, b, b_vector, acc);
  attention_quarter<Q, B, &V16::b>(factor, b + 4, b_vector, acc);
  attention_quarter<Q, B, &V16::c>(factor, b + 8, b_vector, acc);
  attention_quarter<Q, B, &V16::d>(factor, b + 12, b_vector, acc);
}

// --- weights ---------------------------------------------------------------------------

inline V16 load_bytes(const std::byte* p) {
  return {vreinterpretq_f32_u8(load_bytes_16(p)), vreinterpretq_f32_u8(load_bytes_16(p + 16)),
          vreinterpretq_f32_u8(load_bytes_16(p + 32)), vreinterpretq_f32_u8(load_bytes_16(p + 48))};
}
inline V16 load_f16(const std::byte* p) {
  const uint16x8_t low = vreinterpretq_u16_u8(load_bytes_16(p));
  const uint16x8_t high = vreinterpretq_u16_u8(load_bytes_16(p + 16));
  return {widen_f16(vget_low_u16(low)), widen_f16(vget_high_u16(low)),
          widen_f16(vget_low_u16(high)), widen_f16(vget_high_u16(high))};
}
inline V16 load_bf16(const std::byte* p) {
  const uint16x8_t low = vreinterpretq_u16_u8(load_bytes_16(p));
  const uint16x8_t high = vreinterpretq_u16_u8(load_bytes_16(p + 16));
  return {widen_bf16(vget_low_u16(low)), widen_bf16(vget_high_u16(low)),
          widen_bf16(vget_low_u16(high)), widen_bf16(vget_high_u16(high))};
}
inline V16 widen_codes(uint8x16_t bytes) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
  return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
          vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
          vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)))};
}
inline V16 load_codes(const std::uint8_t* p) {
  return widen_codes(vld1q_u8(p));
}
inline void load_nibbles(const std::uint8_t* p, V16* low, V16* high) {
  const uint8x16_t bytes = vld1q_u8(p);
  *low = widen_codes(vandq_u8(bytes, vdupq_n_u8(15)));
  *high = widen_codes(vshrq_n_u8(bytes, 4));
}
template <V16 (*kLoad)(const std::byte*), int kBytes>
inline V16 load_padded(const std::byte* p, int n) {
  std::byte padded[16 * kBytes] = {};
  __builtin_memcpy(padded, p, static_cast<std::size_t>(kBytes * n));
  return kLoad(padded);
}
inline V16 load_bytes_part(const std::byte* p, int n) {
  return load_padded<load_bytes, 4>(p, n);
}
inline V16 load_f16_part(const std::byte* p, int n) {
  return load_padded<load_f16, 2>(p, n);
}
inline V16 load_bf16_part(const std::byte* p, int n) {
  return load_padded<load_bf16, 2>(p, n);
}

template <int Bits>
struct Codes {
  struct Group {
    float32x4_t scale, bias;
  };
  static Group make(float scale, float bias) { return {vdupq_n_f32(scale), vdupq_n_f32(bias)}; }
  static float32x4_t affine(uint32x4_t code, const Group& group) {
    return vfmaq_f32(group.bias, group.scale, vcvtq_f32_u32(code));
  }
  // Both halves are unpacked and one is used; compilers keep what the other half's call needs.
  template <int Half>
  static V16 values(const std::byte* p, const Group& group) {
    const Codes32 codes = unpack_32<Bits>(p);
    const uint8x16_t half = Half == 0 ? codes.first : codes.second;
    const uint16x8_t low = vmovl_u8(vget_low_u8(half)), high = vmovl_u8(vget_high_u8(half));
    return {affine(vmovl_u16(vget_low_u16(low)), group),
            affine(vmovl_u16(vget_high_u16(low)), group),
            affine(vmovl_u16(vget_low_u16(high)), group),
            affine(vmovl_u16(vget_high_u16(high)), group)};
  }
};

}  // namespace
}  // namespace qx

#include "kernels/kv_inl.h"

namespace qx {
namespace {

using QuantizeRow = decltype(KernelTable::quantize_row);
using LinearInteger = decltype(KernelTable::linear_integer);

constexpr KernelTable neon_table(const char* name, QuantizeRow quantize_row,
                                 LinearInteger linear_integer) {
  return {name,
          codec_scalar::affine_encode_row,
          codec_scalar::decode_row,
          linear,
          quantize_row,
          linear_integer,
          rms_norm,
          rope,
          swiglu,
          add_to,
          attention_scores,
          softmax_unnormalized,
          attention_values,
          decode_keys,
          decode_values,
          max_index,
          sum_exp};
}

}  // namespace

constinit const KernelTable kNeonTable =
    neon_table("neon", integer_neon::quantize_row, integer_neon::linear_integer);
constinit const KernelTable kNeonDotprodTable = neon_table(
    "neon-dotprod", integer_neon_dotprod::quantize_row, integer_neon_dotprod::linear_integer);
constinit const KernelTable kNeonI8mmTable =
    neon_table("neon-i8mm", integer_neon_i8mm::quantize_row, integer_neon_i8mm::linear_integer);

}  // namespace qx
