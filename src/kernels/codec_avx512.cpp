// The affine codec with AVX-512 (F BW DQ VL VBMI). Same bits as codec_scalar.cpp.
// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/codec.h"

namespace qx::codec_avx512 {
namespace {

constexpr float kSmallestScale = 1e-7f;
constexpr int kNearestEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
constexpr int kTowardZero = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;

// Groups whose scales are computed together, one a lane.
constexpr int kBatch = 16;

template <bool kGpu>
__m512 round_codes(__m512 x) {
  if constexpr (!kGpu) return _mm512_roundscale_ps(x, kNearestEven);
  // Half away from zero: x - trunc(x) is exact.
  const __m512 whole = _mm512_roundscale_ps(x, kTowardZero);
  const __mmask16 up =
      _mm512_cmp_ps_mask(_mm512_abs_ps(_mm512_sub_ps(x, whole)), _mm512_set1_ps(0.5f), _CMP_GE_OQ);
  const __m512 one = _mm512_or_ps(_mm512_set1_ps(1.0f), _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));
  return _mm512_mask_add_ps(whole, up, whole, one);
}

// Lane e of the result is the minimum (maximum) of all lanes of rows[e]: a tree over 16 vectors at
// once, of which each level halves the number of vectors. The shuffles leave the result of rows[i] in
// another lane, which the last permutation mends.
template <typename Op>
__m512 reduce_each(const __m512 (&rows)[kBatch], Op op) {
  __m512 a[8], b[4], c[2];
  for (int i = 0; i < 8; ++i) {
    a[i] = op(_mm512_shuffle_f32x4(rows[i], rows[i + 8], 0x44),
              _mm512_shuffle_f32x4(rows[i], rows[i + 8], 0xEE));
  }
  for (int i = 0; i < 4; ++i) {
    b[i] =
        op(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x88), _mm512_shuffle_f32x4(a[i], a[i + 4], 0xDD));
  }
  for (int i = 0; i < 2; ++i) {
    c[i] = op(_mm512_shuffle_ps(b[i], b[i + 2], 0x44), _mm512_shuffle_ps(b[i], b[i + 2], 0xEE));
  }
  const __m512 mixed = op(_mm512_shuffle_ps(c[0], c[1], 0x88), _mm512_shuffle_ps(c[0], c[1], 0xDD));
  const __m512i lane_of = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
  return _mm512_permutexvar_ps(lane_of, mixed);
}

struct Params {
  __m512 scale, bias;
};

template <bool kGpu>
Params fit_groups(__m512 low, __m512 high, float levels) {
  const __m512 smallest = _mm512_set1_ps(kSmallestScale), zero = _mm512_setzero_ps();
  // max gives its second operand for equal or unordered ones, as the scalar comparison does.
  const __m512 range =
      _mm512_max_ps(smallest, _mm512_div_ps(_mm512_sub_ps(high, low), _mm512_set1_ps(levels)));
  const __mmask16 low_is_edge =
      _mm512_cmp_ps_mask(_mm512_abs_ps(low), _mm512_abs_ps(high), _CMP_GT_OQ);
  const __m512 edge = _mm512_mask_blend_ps(low_is_edge, high, low);
  const __m512 signed_range =
      _mm512_mask_blend_ps(low_is_edge, _mm512_xor_ps(range, _mm512_set1_ps(-0.0f)), range);
  const __m512 steps = round_codes<kGpu>(_mm512_div_ps(edge, signed_range));
  const __mmask16 none = _mm512_cmp_ps_mask(steps, zero, _CMP_EQ_OQ);
  return {_mm512_mask_blend_ps(none, _mm512_div_ps(edge, steps), signed_range),
          _mm512_mask_blend_ps(none, edge, zero)};
}

// The first n of 16 values, rounded to the stored type.
void store_scales(ScaleKind kind, __m512 values, int n, std::byte* out) {
  const auto mask = static_cast<__mmask16>((1u << n) - 1);
  if (kind == ScaleKind::kF32) {
    _mm512_mask_storeu_ps(out, mask, values);
    return;
  }
  if (kind == ScaleKind::kF16) {
    _mm256_mask_storeu_epi16(out, mask, _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT));
    return;
  }
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_srli_epi32(
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7FC0));
  _mm256_mask_storeu_epi16(out, mask, _mm512_cvtepi32_epi16(rounded));
}

float load_scale(ScaleKind kind, const std::byte* data, std::int64_t index) {
  if (kind == ScaleKind::kF32) {
    float value;
    std::memcpy(&value, data + index * 4, 4);
    return value;
  }
  std::uint16_t half;
  std::memcpy(&half, data + index * 2, 2);
  if (kind == ScaleKind::kF16) return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(half) << 16)));
}

template <int kBits>
struct PackOrder {
  alignas(32) std::uint8_t source[32];
  constexpr PackOrder() : source{} {
    for (int i = 0; i < 4 * kBits; ++i) {
      source[i] = static_cast<std::uint8_t>(i / kBits * 8 + i % kBits);
    }
  }
};
template <int kBits>
constexpr PackOrder<kBits> kPackOrder{};

// The low n bytes of a register. Masked stores of bytes are slow on AMD's processors.
template <int n>
void store_low(__m256i bytes, std::byte* out) {
  const __m128i low = _mm256_castsi256_si128(bytes);
  if constexpr (n < 16) {
    _mm_storeu_si64(out, low);
    if constexpr (n == 12) _mm_storeu_si32(out + 8, _mm_srli_si128(low, 8));
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), low);
    const __m128i high = _mm256_extracti128_si256(bytes, 1);
    if constexpr (n == 20) _mm_storeu_si32(out + 16, high);
    if constexpr (n == 24) _mm_storeu_si64(out + 16, high);
  }
}

// 32 codes, one a byte, to 4 * kBits bytes of bit stream. Neighbours join pairwise: two codes in 16
// bits, four in 32, eight in 64; then the unused high bytes are squeezed out.
template <int kBits>
void pack32(__m256i codes, std::byte* out) {
  if constexpr (kBits == 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), codes);
  } else {
    const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16((1 << (kBits + 8)) | 1));
    const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32((1 << (2 * kBits + 16)) | 1));
    const __m256i low = _mm256_and_si256(fours, _mm256_set1_epi64x(0xFFFFFFFF));
    const __m256i high = _mm256_slli_epi64(_mm256_srli_epi64(fours, 32), 4 * kBits);
    const __m256i order =
        _mm256_load_si256(reinterpret_cast<const __m256i*>(kPackOrder<kBits>.source));
    const __m256i bytes = _mm256_permutexvar_epi8(order, _mm256_or_si256(low, high));
    store_low<4 * kBits>(bytes, out);
  }
}

// 16 steps, (value - bias) / scale, to codes, one a byte.
template <int kBits, bool kGpu>
__m128i codes_of(__m512 steps) {
  const __m512 levels = _mm512_set1_ps((1 << kBits) - 1);
  // Clamped before rounding, which gives the same codes. max gives its second operand for NaN.
  const __m512 x = _mm512_min_ps(_mm512_max_ps(steps, _mm512_setzero_ps()), levels);
  // Adding 1.5 * 2^23 rounds to an integer, halves to even, and leaves it in the lowest bits.
  const __m512 magic = _mm512_set1_ps(0x1.8p23f);
  const __m512 sum = _mm512_add_ps(x, magic);
  __m512i code = _mm512_castps_si512(sum);
  if constexpr (kGpu) {  // halves that went down go up
    const __m512 rest = _mm512_sub_ps(x, _mm512_sub_ps(sum, magic));
    const __mmask16 down = _mm512_cmp_ps_mask(rest, _mm512_set1_ps(0.5f), _CMP_EQ_OQ);
    code = _mm512_mask_add_epi32(code, down, code, _mm512_set1_epi32(1));
  }
  return _mm512_cvtepi32_epi8(code);
}

// One group, given its parameters.
template <int kBits, bool kGpu>
void encode_group(const float* values, int group, __m512 scale, __m512 bias, std::byte* codes) {
  for (int i = 0; i < group; i += 32, codes += 4 * kBits) {
    __m128i bytes[2];
    for (int half = 0; half < 2; ++half) {
      const __m512 x = _mm512_sub_ps(_mm512_loadu_ps(values + i + 16 * half), bias);
      bytes[half] = codes_of<kBits, kGpu>(_mm512_div_ps(x, scale));
    }
    pack32<kBits>(_mm256_inserti128_si256(_mm256_castsi128_si256(bytes[0]), bytes[1], 1), codes);
  }
}

// Smallest and largest value of each of n groups, n <= 16; false when a value is not finite.
template <bool kGpu>
bool find_ranges(const float* row, int n, int group, __m512& low, __m512& high) {
  const __m512 zero = _mm512_setzero_ps();
  __m512 lows[kBatch], highs[kBatch];
  __m512i largest = _mm512_setzero_si512();
  for (int g = 0; g < n; ++g) {
    __m512 l = _mm512_loadu_ps(row + g * group), h = l;
    largest = _mm512_max_epu32(largest, _mm512_castps_si512(_mm512_abs_ps(l)));
    for (int i = 16; i < group; i += 16) {
      const __m512 v = _mm512_loadu_ps(row + g * group + i);
      l = _mm512_min_ps(l, v);
      h = _mm512_max_ps(h, v);
      // As integers, the magnitudes of infinity and NaN are the largest.
      largest = _mm512_max_epu32(largest, _mm512_castps_si512(_mm512_abs_ps(v)));
    }
    lows[g] = l;
    highs[g] = kGpu ? _mm512_max_ps(h, zero) : h;
  }
  for (int g = n; g < kBatch; ++g) lows[g] = highs[g] = zero;
  low = reduce_each(lows, [](__m512 a, __m512 b) { return _mm512_min_ps(a, b); });
  high = reduce_each(highs, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
  return _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(0x7F800000)) == 0;
}

template <int kBits, bool kGpu>
bool encode(const float* row, std::int64_t groups, int group, ScaleKind type, std::byte* codes,
            std::byte* scales, std::byte* biases) {
  const int scale_bytes = type == ScaleKind::kF32 ? 4 : 2;
  for (std::int64_t g = 0; g < groups; g += kBatch) {
    const int n = static_cast<int>(groups - g < kBatch ? groups - g : kBatch);
    __m512 low, high;
    if (!find_ranges<kGpu>(row, n, group, low, high)) return false;
    const Params p = fit_groups<kGpu>(low, high, (1 << kBits) - 1);
    store_scales(type, p.scale, n, scales + g * scale_bytes);
    store_scales(type, p.bias, n, biases + g * scale_bytes);
    alignas(64) float scale[kBatch], bias[kBatch];
    _mm512_store_ps(scale, p.scale);
    _mm512_store_ps(bias, p.bias);
    for (int i = 0; i < n; ++i, row += group, codes += group / 8 * kBits) {
      encode_group<kBits, kGpu>(row, group, _mm512_set1_ps(scale[i]), _mm512_set1_ps(bias[i]),
                                codes);
    }
  }
  return true;
}

// For dword i of 16: which two bytes of a 16-byte lane hold code i, and by how much to shift them.
template <int kBits>
struct UnpackOrder {
  alignas(64) std::uint8_t source[64];
  alignas(64) std::int32_t shift[16];
  constexpr UnpackOrder() : source{}, shift{} {
    for (int i = 0; i < 16; ++i) {
      const int byte = i * kBits / 8;
      source[4 * i] = static_cast<std::uint8_t>(byte);
      source[4 * i + 1] = static_cast<std::uint8_t>(byte + 1 < 16 ? byte + 1 : 0x80);
      source[4 * i + 2] = source[4 * i + 3] = 0x80;  // zero
      shift[i] = i * kBits % 8;
    }
  }
};
template <int kBits>
constexpr UnpackOrder<kBits> kUnpackOrder{};

// 16 codes of kBits as 32-bit integers; bits above kBits are not cleared.
template <int kBits>
__m512i unpack16(__m128i bytes) {
  const __m512i source = _mm512_load_si512(kUnpackOrder<kBits>.source);
  const __m512i shift = _mm512_load_si512(kUnpackOrder<kBits>.shift);
  return _mm512_srlv_epi32(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes), source), shift);
}

// The values of one group. Up to four bits its few possible values are looked up, else computed;
// both by the same fused multiply-add.
template <int kBits>
struct GroupDecoder {
  __m512 scale, bias, table;
  GroupDecoder(float s, float b) : scale(_mm512_set1_ps(s)), bias(_mm512_set1_ps(b)) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    table = value(lane);
  }
  __m512 value(__m512i codes) const {
    const __m512i code = _mm512_and_si512(codes, _mm512_set1_epi32((1 << kBits) - 1));
    return _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(code), bias);
  }
  // The look-up uses the low four bits of an index; the table repeats for fewer.
  __m512 operator()(__m512i codes) const {
    if constexpr (kBits <= 4) return _mm512_permutexvar_ps(codes, table);
    return value(codes);
  }
};

template <int kBits>
void decode_affine(const WeightRows& w, std::int64_t row, std::int64_t begin, std::int64_t n,
                   float* out) {
  constexpr auto kMask = static_cast<__mmask16>((1u << (2 * kBits)) - 1);
  const std::byte* codes = w.values + (row * w.cols + begin) / 8 * kBits;
  const std::byte* end = codes + n / 8 * kBits;
  const std::int64_t row_groups = row * (w.cols / w.group);
  for (std::int64_t c = begin; c < begin + n;) {
    const std::int64_t g = c / w.group;
    const std::int64_t stop = (g + 1) * w.group < begin + n ? (g + 1) * w.group : begin + n;
    const GroupDecoder<kBits> decoder(load_scale(w.scale_kind, w.scales, row_groups + g),
                                      load_scale(w.scale_kind, w.biases, row_groups + g));
    for (; c < stop; c += 16, codes += 2 * kBits, out += 16) {
      // A full load where the row still has 16 bytes, else only the bytes that are there.
      const __m128i bytes = end - codes >= 16
                                ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes))
                                : _mm_maskz_loadu_epi8(kMask, codes);
      _mm512_storeu_ps(out, decoder(unpack16<kBits>(bytes)));
    }
  }
}

__m512 widen16(WeightKind kind, __m256i halves) {
  if (kind == WeightKind::kF16) return _mm512_cvtph_ps(halves);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

void decode_float(const WeightRows& w, std::int64_t first, std::int64_t n, float* out) {
  if (w.kind == WeightKind::kF32) {
    std::memcpy(out, w.values + first * 4, static_cast<std::size_t>(n) * 4);
    return;
  }
  const std::byte* values = w.values + first * 2;
  std::int64_t i = 0;
  // Without a mask: a load that follows a masked store waits until that has left for the cache.
  for (; i + 16 <= n; i += 16) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + i * 2));
    _mm512_storeu_ps(out + i, widen16(w.kind, halves));
  }
  if (i == n) return;
  const auto mask = static_cast<__mmask16>((1u << (n - i)) - 1);
  _mm512_mask_storeu_ps(out + i, mask,
                        widen16(w.kind, _mm256_maskz_loadu_epi16(mask, values + i * 2)));
}

}  // namespace

bool affine_encode_row(const float* row, std::int64_t cols, int bits, int group, bool gpu_rounding,
                       ScaleKind type, std::byte* codes, std::byte* scales, std::byte* biases) {
  using Encode =
      bool (*)(const float*, std::int64_t, int, ScaleKind, std::byte*, std::byte*, std::byte*);
  static constexpr Encode kEncode[9][2] = {
      {nullptr, nullptr},
      {nullptr, nullptr},
      {encode<2, false>, encode<2, true>},
      {encode<3, false>, encode<3, true>},
      {encode<4, false>, encode<4, true>},
      {encode<5, false>, encode<5, true>},
      {encode<6, false>, encode<6, true>},
      {nullptr, nullptr},
      {encode<8, false>, encode<8, true>},
  };
  return kEncode[bits][gpu_rounding ? 1 : 0](row, cols / group, group, type, codes, scales, biases);
}

void decode_row(const WeightRows& w, std::int64_t row, std::int64_t begin, std::int64_t n,
                float* out) {
  if (w.kind != WeightKind::kAffine) {
    decode_float(w, row * w.cols + begin, n, out);
    return;
  }
  switch (w.bits) {
    case 2:
      return decode_affine<2>(w, row, begin, n, out);
    case 3:
      return decode_affine<3>(w, row, begin, n, out);
    case 4:
      return decode_affine<4>(w, row, begin, n, out);
    case 5:
      return decode_affine<5>(w, row, begin, n, out);
    case 6:
      return decode_affine<6>(w, row, begin, n, out);
    default:
      return decode_affine<8>(w, row, begin, n, out);
  }
}

}  // namespace qx::codec_avx512
