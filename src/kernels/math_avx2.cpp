// The kernels for AVX2 with FMA and F16C: the vector operations that math_vector_inl.h and
// linear_inl.h need, on pairs of 8-lane registers, and the tables.
// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/codec.h"
#include "kernels/integer.h"
#include "kernels/tables.h"

namespace qx {
namespace {

struct V16 {
  __m256 low, high;  // lanes 0-7, lanes 8-15
};

constexpr int kAttentionQueries = 2;
constexpr int kAttentionVectors = 3;
constexpr int kFusedRowsOfX = 4;
constexpr int fused_weight_rows(int m) {
  return m <= 2 ? 2 : 1;
}
constexpr int kPanelRows = 3;
constexpr int kMicroRows = 2;
constexpr std::int64_t kDepth = 1536;

// All bits set in lanes < n.
struct Mask {
  __m256i low, high;
};
inline Mask mask_of(int n) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_cmpgt_epi32(_mm256_set1_epi32(n), index),
          _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8), index)};
}

// Keeps the compiler from reading v from memory again at each use: loads are what the inner loops
// run short of.
inline V16 in_register(V16 v) {
  __asm__("" : "+x"(v.low));
  __asm__("" : "+x"(v.high));
  return v;
}

inline V16 zero() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
inline V16 splat(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
inline V16 load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline V16 load_part(const float* p, int n) {
  const Mask mask = mask_of(n);
  return {_mm256_maskload_ps(p, mask.low), _mm256_maskload_ps(p + 8, mask.high)};
}
inline void store(float* p, V16 v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
inline void store_part(float* p, V16 v, int n) {
  const Mask mask = mask_of(n);
  _mm256_maskstore_ps(p, mask.low, v.low);
  _mm256_maskstore_ps(p + 8, mask.high, v.high);
}
inline V16 add(V16 a, V16 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline V16 sub(V16 a, V16 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline V16 mul(V16 a, V16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline V16 div(V16 a, V16 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline V16 fma(V16 a, V16 b, V16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline V16 first_lanes(V16 a, V16 b, int n) {
  const Mask mask = mask_of(n);
  return {_mm256_blendv_ps(b.low, a.low, _mm256_castsi256_ps(mask.low)),
          _mm256_blendv_ps(b.high, a.high, _mm256_castsi256_ps(mask.high))};
}
inline V16 fma_part(V16 a, V16 b, V16 c, int n) {
  return first_lanes(fma(a, b, c), c, n);
}
inline V16 max_of(V16 a, V16 b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline V16 negate(V16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(a.low, sign), _mm256_xor_ps(a.high, sign)};
}
inline __m256 add_exponent_8(__m256 y, __m256 t) {
  const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), n));
}
inline V16 add_exponent(V16 y, V16 t) {
  return {add_exponent_8(y.low, t.low), add_exponent_8(y.high, t.high)};
}
template <int Predicate>
inline V16 where(V16 x, V16 c, V16 a, V16 b) {
  return {_mm256_blendv_ps(b.low, a.low, _mm256_cmp_ps(x.low, c.low, Predicate)),
          _mm256_blendv_ps(b.high, a.high, _mm256_cmp_ps(x.high, c.high, Predicate))};
}
inline V16 where_less(V16 x, V16 c, V16 a, V16 b) {
  return where<_CMP_LT_OQ>(x, c, a, b);
}
inline V16 where_greater(V16 x, V16 c, V16 a, V16 b) {
  return where<_CMP_GT_OQ>(x, c, a, b);
}
inline V16 where_nan(V16 x, V16 a, V16 b) {
  return where<_CMP_UNORD_Q>(x, x, a, b);
}
inline unsigned equal_lanes(V16 a, V16 b) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ));
  return static_cast<unsigned>(low | (high << 8));
}

// --- sums ------------------------------------------------------------------------------

inline __m256 fold_8(V16 a) {
  return _mm256_add_ps(a.low, a.high);
}
// [a.low + a.high | b.low + b.high]
inline __m256 fold_4(__m256 a, __m256 b) {
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

// out[i] = reduce16(acc[i]) for four vectors at once.
inline __m128 reduce_4(V16 a0, V16 a1, V16 a2, V16 a3) {
  const __m256 p = fold_4(fold_8(a0), fold_8(a1));
  const __m256 q = fold_4(fold_8(a2), fold_8(a3));
  // Half i: 2 sums of a[i], then 2 of a[i + 2].
  const __m256 pairs = _mm256_add_ps(_mm256_shuffle_ps(p, q, 0x44), _mm256_shuffle_ps(p, q, 0xEE));
  const __m256 sums = _mm256_add_ps(pairs, _mm256_movehdup_ps(pairs));
  const __m128 low = _mm256_castps256_ps128(sums), high = _mm256_extractf128_ps(sums, 1);
  // low: a0 . a2 .   high: a1 . a3 .
  const __m128 mixed = _mm_shuffle_ps(low, high, 0x88);  // a0 a2 a1 a3
  return _mm_shuffle_ps(mixed, mixed, 0xD8);
}

template <int N>
inline void reduce(const V16* acc, float* out) {
  constexpr int kFull = N / 4 * 4;
#pragma GCC unroll 4
  for (int i = 0; i < kFull; i += 4) {
    _mm_storeu_ps(out + i, reduce_4(acc[i], acc[i + 1], acc[i + 2], acc[i + 3]));
  }
  if constexpr (N > kFull) {
    constexpr int kLast = N - 1, kNext = kFull + 1 < N ? kFull + 1 : kLast;
    float sums[4];
    _mm_storeu_ps(sums, reduce_4(acc[kFull], acc[kNext], acc[kLast], acc[kLast]));
    for (int i = kFull; i < N; ++i) out[i] = sums[i - kFull];
  }
}

inline __m256 load_8(const float* p) {
  __m256 v = _mm256_loadu_ps(p);
  __asm__("" : "+x"(v));  // as in_register
  return v;
}

// One half after the other: its operands and all sums fit the 16 registers.
template <int M>
inline void micro_step(const float* x, std::int64_t x_stride, const float* w,
                       V16 (&acc)[M * kPanelRows]) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m256 v[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      v[m] = load_8(x + m * x_stride + 8 * half);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kPanelRows; ++r) {
      const __m256 weight = load_8(w + r * 16 + 8 * half);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        V16& a = acc[m * kPanelRows + r];
        __m256& sum = half == 0 ? a.low : a.high;
        sum = _mm256_fmadd_ps(weight, v[m], sum);
      }
    }
  }
}

// Each of Q numbers times each of B vectors, half by half as in micro_step.
template <int Q, int B>
inline void attention_step(const float* a, std::int64_t a_stride, const float* b,
                           std::int64_t b_vector, V16 (&acc)[Q * B]) {
  __m256 factor[Q];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
    factor[q] = _mm256_broadcast_ss(a + q * a_stride);
    __asm__("" : "+x"(factor[q]));  // as in_register
  }
#pragma GCC unroll 8
  for (int v = 0; v < B; ++v) {
    const __m256 low = load_8(b + v * b_vector);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      acc[q * B + v].low = _mm256_fmadd_ps(factor[q], low, acc[q * B + v].low);
    }
    const __m256 high = load_8(b + v * b_vector + 8);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      acc[q * B + v].high = _mm256_fmadd_ps(factor[q], high, acc[q * B + v].high);
    }
  }
}

// --- weights ---------------------------------------------------------------------------

inline __m128i load_16(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline V16 load_bytes(const std::byte* p) {
  return load(reinterpret_cast<const float*>(p));
}
inline V16 load_f16(const std::byte* p) {
  return {_mm256_cvtph_ps(load_16(p)), _mm256_cvtph_ps(load_16(p + 16))};
}
inline __m256 widen_bf16(__m128i v) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}
inline V16 load_bf16(const std::byte* p) {
  return {widen_bf16(load_16(p)), widen_bf16(load_16(p + 16))};
}
inline __m256 widen_codes(__m128i bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}
inline V16 widen_16_codes(__m128i bytes) {
  return {widen_codes(bytes), widen_codes(_mm_srli_si128(bytes, 8))};
}
inline V16 load_codes(const std::uint8_t* p) {
  return widen_16_codes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline void load_nibbles(const std::uint8_t* p, V16* low, V16* high) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i mask = _mm_set1_epi8(15);
  *low = widen_16_codes(_mm_and_si128(bytes, mask));
  *high = widen_16_codes(_mm_and_si128(_mm_srli_epi16(bytes, 4), mask));
}
inline V16 load_bytes_part(const std::byte* p, int n) {
  return load_part(reinterpret_cast<const float*>(p), n);
}
inline V16 load_f16_part(const std::byte* p, int n) {
  std::byte padded[32] = {};
  __builtin_memcpy(padded, p, 2 * n);
  return load_f16(padded);
}
inline V16 load_bf16_part(const std::byte* p, int n) {
  std::byte padded[32] = {};
  __builtin_memcpy(padded, p, 2 * n);
  return load_bf16(padded);
}

inline __m256i broadcast_u32(const std::byte* p) {
  int v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}
inline __m256i broadcast_u64(const std::byte* p) {
  long long v;
  __builtin_memcpy(&v, p, 8);
  return _mm256_set1_epi64x(v);
}

struct ScaleAndBias {
  __m256 scale, bias;
};

inline __m256 affine(__m256i code, const ScaleAndBias& group) {
  return _mm256_fmadd_ps(group.scale, _mm256_cvtepi32_ps(code), group.bias);
}

// Lane i: the Width bits of lane i of words from bit shift[i].
template <int Width>
inline __m256 values_8(__m256i words, __m256i shift, const ScaleAndBias& group) {
  const __m256i mask = _mm256_set1_epi32((1 << Width) - 1);
  return affine(_mm256_and_si256(_mm256_srlv_epi32(words, shift), mask), group);
}

// Codes of 2, 3 and 4 bits: codes 0-7 lie in the four bytes at p, codes 8-15 in those at p +
// kHigh, from bit kSkip.
template <int Bits>
struct NarrowCodes {
  static constexpr int kHigh = Bits == 2 ? 0 : 2 * Bits - 4;
  static constexpr int kSkip = 8 * (Bits - kHigh);
  using Group = ScaleAndBias;
  static Group make(float scale, float bias) {
    return {_mm256_set1_ps(scale), _mm256_set1_ps(bias)};
  }
  template <int Half>
  static V16 values(const std::byte* pair, const Group& group) {
    const std::byte* p = pair + 2 * Bits * Half;
    const __m256i shift =
        _mm256_setr_epi32(0, Bits, 2 * Bits, 3 * Bits, 4 * Bits, 5 * Bits, 6 * Bits, 7 * Bits);
    return {values_8<Bits>(broadcast_u32(p), shift, group),
            values_8<Bits>(broadcast_u32(p + kHigh),
                           _mm256_add_epi32(shift, _mm256_set1_epi32(kSkip)), group)};
  }
};

// Codes of 5 and 6 bits: the same with eight bytes, from which each lane takes the four that
// start with its code.
template <int Bits>
struct WideCodes {
  static constexpr int kHigh = 2 * Bits - 8;
  static constexpr int kSkip = 8 * (Bits - kHigh);
  using Group = ScaleAndBias;
  static Group make(float scale, float bias) {
    return {_mm256_set1_ps(scale), _mm256_set1_ps(bias)};
  }
  template <int First>
  static __m256 values_of(const std::byte* p, const Group& group) {
    // Bytes beyond the eighth hold no part of a code; what is selected for them does not matter.
    const auto bytes = [](int lane) { return 0x03020100 + (First + Bits * lane) / 8 * 0x01010101; };
    const auto shift = [](int lane) { return (First + Bits * lane) % 8; };
    const __m256i select = _mm256_setr_epi32(bytes(0), bytes(1), bytes(2), bytes(3), bytes(4),
                                             bytes(5), bytes(6), bytes(7));
    const __m256i shifts = _mm256_setr_epi32(shift(0), shift(1), shift(2), shift(3), shift(4),
                                             shift(5), shift(6), shift(7));
    return values_8<Bits>(_mm256_shuffle_epi8(broadcast_u64(p), select), shifts, group);
  }
  template <int Half>
  static V16 values(const std::byte* pair, const Group& group) {
    const std::byte* p = pair + 2 * Bits * Half;
    return {values_of<0>(p, group), values_of<kSkip>(p + kHigh, group)};
  }
};

template <int Bits>
struct Codes;
template <>
struct Codes<2> : NarrowCodes<2> {};
template <>
struct Codes<3> : NarrowCodes<3> {};
template <>
struct Codes<4> : NarrowCodes<4> {};
template <>
struct Codes<5> : WideCodes<5> {};
template <>
struct Codes<6> : WideCodes<6> {};
template <>
struct Codes<8> {
  using Group = ScaleAndBias;
  static Group make(float scale, float bias) {
    return {_mm256_set1_ps(scale), _mm256_set1_ps(bias)};
  }
  template <int Half>
  static V16 values(const std::byte* p, const Group& group) {
    const __m128i codes = load_16(p + 16 * Half);
    return {affine(_mm256_cvtepu8_epi32(codes), group),
            affine(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(codes, codes)), group)};
  }
};

}  // namespace
}  // namespace qx

#include "kernels/kv_inl.h"

namespace qx {

constexpr KernelTable kAvx2Table = {"avx2",
                                    codec_avx2::affine_encode_row,
                                    codec_avx2::decode_row,
                                    linear,
                                    integer_avx2::quantize_row,
                                    integer_avx2::linear_integer,
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

// vpdpbusd serves integer products only.
constexpr KernelTable with_vnni(KernelTable table) {
  table.name = "avxvnni";
  table.quantize_row = integer_avxvnni::quantize_row;
  table.linear_integer = integer_avxvnni::linear_integer;
  return table;
}

constexpr KernelTable kAvxVnniTable = with_vnni(kAvx2Table);

}  // namespace qx
