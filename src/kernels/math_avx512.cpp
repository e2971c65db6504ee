// The kernels for AVX-512 (F, BW, DQ, VL, VBMI): the vector operations that math_vector_inl.h and
// linear_inl.h need, and the table.
// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/codec.h"
#include "kernels/integer.h"
#include "kernels/linear_bf16.h"
#include "kernels/tables.h"

namespace qx {
namespace {

using V16 = __m512;

constexpr int kAttentionQueries = 6;
constexpr int kAttentionVectors = 4;
constexpr int kFusedRowsOfX = 8;
constexpr int fused_weight_rows(int m) {
  return m <= 4 ? 4 : 2;
}
constexpr int kPanelRows = 8;
constexpr int kMicroRows = 3;
constexpr std::int64_t kDepth = 768;

inline __mmask16 mask_of(int n) {
  return static_cast<__mmask16>((1u << n) - 1u);
}

// Keeps the compiler from reading v from memory again at each use: loads are what the inner loops
// run short of.
inline V16 in_register(V16 v) {
  __asm__("" : "+v"(v));
  return v;
}

inline V16 zero() {
  return _mm512_setzero_ps();
}
inline V16 splat(float x) {
  return _mm512_set1_ps(x);
}
inline V16 load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline V16 load_part(const float* p, int n) {
  return _mm512_maskz_loadu_ps(mask_of(n), p);
}
inline void store(float* p, V16 v) {
  _mm512_storeu_ps(p, v);
}
inline void store_part(float* p, V16 v, int n) {
  _mm512_mask_storeu_ps(p, mask_of(n), v);
}
inline V16 add(V16 a, V16 b) {
  return _mm512_add_ps(a, b);
}
inline V16 sub(V16 a, V16 b) {
  return _mm512_sub_ps(a, b);
}
inline V16 mul(V16 a, V16 b) {
  return _mm512_mul_ps(a, b);
}
inline V16 div(V16 a, V16 b) {
  return _mm512_div_ps(a, b);
}
inline V16 fma(V16 a, V16 b, V16 c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline V16 fma_part(V16 a, V16 b, V16 c, int n) {
  return _mm512_mask3_fmadd_ps(a, b, c, mask_of(n));
}
inline V16 first_lanes(V16 a, V16 b, int n) {
  return _mm512_mask_blend_ps(mask_of(n), b, a);
}
inline V16 max_of(V16 a, V16 b) {
  return _mm512_max_ps(a, b);
}
inline V16 negate(V16 a) {
  return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
}
inline V16 add_exponent(V16 y, V16 t) {
  const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y), n));
}
inline V16 where_less(V16 x, V16 c, V16 a, V16 b) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, c, _CMP_LT_OQ), b, a);
}
inline V16 where_greater(V16 x, V16 c, V16 a, V16 b) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, c, _CMP_GT_OQ), b, a);
}
inline V16 where_nan(V16 x, V16 a, V16 b) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), b, a);
}
inline unsigned equal_lanes(V16 a, V16 b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

// --- sums ------------------------------------------------------------------------------

// Two vectors' halves folded: [a.low + a.high | b.low + b.high].
inline V16 fold_8(V16 a, V16 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
}
// The same within the halves: quarters [a b c d] of the vectors [a | b] and [c | d].
inline V16 fold_4(V16 ab, V16 cd) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
}

// out[i] = reduce16(acc[i]) for eight vectors at once.
inline __m256 reduce_8(V16 a0, V16 a1, V16 a2, V16 a3, V16 a4, V16 a5, V16 a6, V16 a7) {
  const V16 p = fold_4(fold_8(a0, a1), fold_8(a2, a3));  // quarter i: 4 sums of a[i]
  const V16 q = fold_4(fold_8(a4, a5), fold_8(a6, a7));
  // Quarter i: 2 sums of a[i], then 2 of a[i + 4].
  const V16 pairs = _mm512_add_ps(_mm512_shuffle_ps(p, q, 0x44), _mm512_shuffle_ps(p, q, 0xEE));
  const V16 sums = _mm512_add_ps(pairs, _mm512_movehdup_ps(pairs));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, sums));
}

template <int N>
inline void reduce(const V16* acc, float* out) {
  constexpr int kFull = N / 8 * 8;
#pragma GCC unroll 4
  for (int i = 0; i < kFull; i += 8) {
    _mm256_storeu_ps(out + i, reduce_8(acc[i], acc[i + 1], acc[i + 2], acc[i + 3], acc[i + 4],
                                       acc[i + 5], acc[i + 6], acc[i + 7]));
  }
  if constexpr (N > kFull) {
    constexpr int kLast = N - 1;
    constexpr int k1 = kFull + 1 < N ? kFull + 1 : kLast, k2 = kFull + 2 < N ? kFull + 2 : kLast,
                  k3 = kFull + 3 < N ? kFull + 3 : kLast, k4 = kFull + 4 < N ? kFull + 4 : kLast,
                  k5 = kFull + 5 < N ? kFull + 5 : kLast, k6 = kFull + 6 < N ? kFull + 6 : kLast;
    const __m256 sums =
        reduce_8(acc[kFull], acc[k1], acc[k2], acc[k3], acc[k4], acc[k5], acc[k6], acc[kLast]);
    _mm256_mask_storeu_ps(out + kFull, static_cast<__mmask8>((1u << (N - kFull)) - 1u), sums);
  }
}

template <int M>
inline void micro_step(const float* x, std::int64_t x_stride, const float* w,
                       V16 (&acc)[M * kPanelRows]) {
  V16 v[M];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) v[m] = load(x + m * x_stride);
#pragma GCC unroll 8
  for (int r = 0; r < kPanelRows; ++r) {
    const V16 weight = in_register(load(w + r * 16));
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
      acc[m * kPanelRows + r] = fma(weight, v[m], acc[m * kPanelRows + r]);
  }
}

// Each of Q numbers times each of B vectors.
template <int Q, int B>
inline void attention_step(const float* a, std::int64_t a_stride, const float* b,
                           std::int64_t b_vector, V16 (&acc)[Q * B]) {
  V16 factor[Q];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) factor[q] = in_register(splat(a[q * a_stride]));
#pragma GCC unroll 8
  for (int v = 0; v < B; ++v) {
    const V16 x = in_register(load(b + v * b_vector));
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) acc[q * B + v] = fma(factor[q], x, acc[q * B + v]);
  }
}

// --- weights ---------------------------------------------------------------------------

inline V16 load_bytes(const std::byte* p) {
  return _mm512_loadu_ps(p);
}
inline V16 load_bytes_part(const std::byte* p, int n) {
  return _mm512_maskz_loadu_ps(mask_of(n), p);
}
inline __m256i load_halves(const std::byte* p, int n) {
  return _mm256_maskz_loadu_epi16(mask_of(n), p);
}
inline V16 widen_bf16(__m256i v) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}
inline V16 load_f16(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline V16 load_bf16(const std::byte* p) {
  return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline V16 load_codes(const std::uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}
inline void load_nibbles(const std::uint8_t* p, V16* low, V16* high) {
  const __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  *low = _mm512_cvtepi32_ps(_mm512_and_si512(codes, _mm512_set1_epi32(15)));
  *high = _mm512_cvtepi32_ps(_mm512_srli_epi32(codes, 4));
}
inline V16 load_f16_part(const std::byte* p, int n) {
  return _mm512_cvtph_ps(load_halves(p, n));
}
inline V16 load_bf16_part(const std::byte* p, int n) {
  return widen_bf16(load_halves(p, n));
}

inline __m512i broadcast_u32(const std::byte* p) {
  int v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}
inline __m512i broadcast_u64(const std::byte* p) {
  long long v;
  __builtin_memcpy(&v, p, 8);
  return _mm512_set1_epi64(v);
}
inline __m512i broadcast_128(const std::byte* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// The eight bytes at `low` in lanes 0-7, those at `high` in lanes 8-15.
inline __m512i broadcast_u64_halves(const std::byte* low, const std::byte* high) {
  const __m128i h = _mm_loadu_si64(high);
  return _mm512_mask_broadcastq_epi64(broadcast_u64(low), 0xF0, h);
}

// Lane i of 16: the eight bits of its 64-bit word that start at bit First + i * Width, less Skip
// for lanes 8-15. The lane's other bits are of no meaning.
template <int Width, int First, int Skip>
inline __m512i pick_codes(__m512i words) {
  const auto control = [](int j) -> long long {
    const long long start = First + 2 * j * Width - (j >= 4 ? Skip : 0);
    return start | ((start + Width) << 32);
  };
  return _mm512_multishift_epi64_epi8(
      _mm512_setr_epi64(control(0), control(1), control(2), control(3), control(4), control(5),
                        control(6), control(7)),
      words);
}

// Narrow codes: all values that a group can have are computed once into a table, and codes look
// them up. The look-up takes the low 4 bits of a lane (5 with two tables), so that nothing need
// be masked; where a code is narrower, the table repeats.
template <int Bits>
struct Codes;

inline V16 all_values(float scale, float bias, V16 codes) {
  return fma(splat(scale), codes, splat(bias));
}

template <>
struct Codes<2> {
  using Group = V16;
  static Group make(float scale, float bias) {
    return all_values(scale, bias, _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3));
  }
  template <int Half>
  static V16 values(const std::byte* p, const Group& group) {
    const __m512i shift =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(broadcast_u32(p + 4 * Half), shift), group);
  }
};

template <>
struct Codes<3> {
  using Group = V16;
  static Group make(float scale, float bias) {
    return all_values(scale, bias, _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7));
  }
  // 12 bytes: the first half is bits 0-47 of the eight bytes at 0, the second bits 16-63 of those
  // at 4.
  template <int Half>
  static V16 values(const std::byte* p, const Group& group) {
    return _mm512_permutexvar_ps(pick_codes<3, 16 * Half, 0>(broadcast_u64(p + 4 * Half)), group);
  }
};

template <>
struct Codes<4> {
  using Group = V16;
  static Group make(float scale, float bias) {
    return all_values(scale, bias,
                      _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  }
  template <int Half>
  static V16 values(const std::byte* p, const Group& group) {
    return _mm512_permutexvar_ps(pick_codes<4, 0, 0>(broadcast_u64(p + 8 * Half)), group);
  }
};

template <>
struct Codes<5> {
  struct Group {
    V16 low, high;
  };
  static Group make(float scale, float bias) {
    const V16 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return {all_values(scale, bias, codes), all_values(scale, bias, add(codes, splat(16.0f)))};
  }
  // A half is 10 bytes: codes 0-7 lie in the eight from byte 0, codes 8-15 in those from byte 2.
  template <int Half>
  static V16 values(const std::byte* p, const Group& group) {
    const std::byte* half = p + 10 * Half;
    const __m512i index = pick_codes<5, 0, 16>(broadcast_u64_halves(half, half + 2));
    return _mm512_permutex2var_ps(group.low, index, group.high);
  }
};

struct ScaleAndBias {
  V16 scale, bias;
};

template <>
struct Codes<6> {
  using Group = ScaleAndBias;
  static Group make(float scale, float bias) { return {splat(scale), splat(bias)}; }
  // A half is 12 bytes; the 16 bytes that are loaded start 4 before the second half. A lane gets
  // the four bytes that start with its code's first, in which the code lies at bit 0, 6, 4 or 2.
  // Left there, below the exponent of 2^(23 - bit), it reads as 2^(23 - bit) + code, exactly.
  template <int Half>
  static V16 values(const std::byte* p, const Group& group) {
    const auto bytes = [](int quad) {
      const int first = 4 * Half + 3 * quad;
      const auto at = [](int byte) { return 0x03020100 + byte * 0x01010101; };
      return _mm_setr_epi32(at(first), at(first), at(first + 1), at(first + 2));
    };
    const __m512i select =
        _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(bytes(1), bytes(0))),
                           _mm256_set_m128i(bytes(3), bytes(2)), 1);
    const __m512i mask = _mm512_broadcast_i32x4(_mm_setr_epi32(63, 63 << 6, 63 << 4, 63 << 2));
    const V16 unit = _mm512_broadcast_f32x4(_mm_setr_ps(0x1p23f, 0x1p17f, 0x1p19f, 0x1p21f));
    const __m512i words = _mm512_shuffle_epi8(broadcast_128(p + 8 * Half), select);
    // (words & mask) | unit
    const __m512i sum = _mm512_ternarylogic_epi32(words, mask, _mm512_castps_si512(unit), 0xEA);
    return fma(group.scale, sub(_mm512_castsi512_ps(sum), unit), group.bias);
  }
};

template <>
struct Codes<8> {
  using Group = ScaleAndBias;
  static Group make(float scale, float bias) { return {splat(scale), splat(bias)}; }
  template <int Half>
  static V16 values(const std::byte* p, const Group& group) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * Half));
    return fma(group.scale, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes)), group.bias);
  }
};

}  // namespace
}  // namespace qx

#include "kernels/kv_inl.h"

namespace qx {

constexpr KernelTable kAvx512Table = {"avx512",
                                      codec_avx512::affine_encode_row,
                                      codec_avx512::decode_row,
                                      linear,
                                      integer_avx512::quantize_row,
                                      integer_avx512::linear_integer,
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

constexpr KernelTable with_bf16(KernelTable table) {
  table.name = "avx512bf16";
  table.round_bf16 = linear_avx512bf16::round_bf16;
  table.linear_bf16 = linear_avx512bf16::linear_bf16;
  return table;
}

constexpr KernelTable kAvx512Bf16Table = with_bf16(kAvx512Table);

}  // namespace qx
