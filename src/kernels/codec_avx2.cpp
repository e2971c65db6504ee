// The affine codec with AVX2, FMA and F16C. Same bits as codec_scalar.cpp.
// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/codec.h"

namespace qx::codec_avx2 {
namespace {

constexpr float kSmallestScale = 1e-7f;
constexpr int kNearestEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
constexpr int kTowardZero = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;

struct GroupParams {
  float scale, bias;
};

__m256 magnitude(__m256 x) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

template <bool kGpu>
__m256 round_codes(__m256 x) {
  if constexpr (!kGpu) return _mm256_round_ps(x, kNearestEven);
  // Half away from zero: x - trunc(x) is exact.
  const __m256 whole = _mm256_round_ps(x, kTowardZero);
  const __m256 up =
      _mm256_cmp_ps(magnitude(_mm256_sub_ps(x, whole)), _mm256_set1_ps(0.5f), _CMP_GE_OQ);
  const __m256 one = _mm256_or_ps(_mm256_set1_ps(1.0f), _mm256_and_ps(x, _mm256_set1_ps(-0.0f)));
  return _mm256_blendv_ps(whole, _mm256_add_ps(whole, one), up);
}

template <bool kGpu>
float round_scalar(float x) {
  return _mm256_cvtss_f32(round_codes<kGpu>(_mm256_set1_ps(x)));
}

template <bool kGpu>
GroupParams fit_group(float low, float high, float levels) {
  float scale = (high - low) / levels;
  scale = scale < kSmallestScale ? kSmallestScale : scale;
  const bool low_is_edge = __builtin_fabsf(low) > __builtin_fabsf(high);
  scale = low_is_edge ? scale : -scale;
  const float edge = low_is_edge ? low : high;
  const float steps = round_scalar<kGpu>(edge / scale);
  if (steps == 0.0f) return {scale, 0.0f};
  return {edge / steps, edge};
}

void store_scale(ScaleKind kind, float value, std::byte* out, std::int64_t index) {
  std::uint32_t u;
  std::memcpy(&u, &value, 4);
  if (kind == ScaleKind::kF32) {
    std::memcpy(out + index * 4, &u, 4);
    return;
  }
  std::uint16_t half;
  if (kind == ScaleKind::kF16) {
    half = static_cast<std::uint16_t>(
        _mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT), 0));
  } else if ((u & 0x7FFFFFFFu) > 0x7F800000u) {
    half = 0x7FC0;
  } else {
    half = static_cast<std::uint16_t>((u + ((u >> 16) & 1u) + 0x7FFFu) >> 16);
  }
  std::memcpy(out + index * 2, &half, 2);
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

float reduce_min(__m256 v) {
  __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_min_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_min_ss(m, _mm_shuffle_ps(m, m, 1)));
}

float reduce_max(__m256 v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

// 32 codes, one a byte, to 4 * kBits bytes of bit stream. Neighbours join pairwise: two codes in 16
// bits, four in 32, eight in 64, of which the low kBits bytes are stored.
template <int kBits>
void pack32(__m256i codes, std::byte* out) {
  if constexpr (kBits == 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), codes);
  } else {
    const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16((1 << (kBits + 8)) | 1));
    const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32((1 << (2 * kBits + 16)) | 1));
    const __m256i low = _mm256_and_si256(fours, _mm256_set1_epi64x(0xFFFFFFFF));
    const __m256i high = _mm256_slli_epi64(_mm256_srli_epi64(fours, 32), 4 * kBits);
    alignas(32) std::uint64_t eights[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(eights), _mm256_or_si256(low, high));
    for (int i = 0; i < 4; ++i) std::memcpy(out + i * kBits, &eights[i], kBits);
  }
}

// 32 values at v to 32 codes, one a byte, in order.
template <int kBits, bool kGpu>
__m256i encode32(const float* v, __m256 scale, __m256 bias) {
  const __m256 zero = _mm256_setzero_ps();
  const __m256 levels = _mm256_set1_ps(static_cast<float>((1 << kBits) - 1));
  __m256i code[4];
  for (int i = 0; i < 4; ++i) {
    const __m256 steps = _mm256_div_ps(_mm256_sub_ps(_mm256_loadu_ps(v + 8 * i), bias), scale);
    // max gives its second operand for NaN.
    code[i] =
        _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(round_codes<kGpu>(steps), zero), levels));
  }
  // Packing works within 128-bit halves; the dword permutation puts the fours back in order.
  const __m256i packed = _mm256_packus_epi16(_mm256_packus_epi32(code[0], code[1]),
                                             _mm256_packus_epi32(code[2], code[3]));
  return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

template <int kBits, bool kGpu>
bool encode(const float* row, std::int64_t groups, int group, ScaleKind type, std::byte* codes,
            std::byte* scales, std::byte* biases) {
  const __m256 high_start = kGpu ? _mm256_setzero_ps() : _mm256_set1_ps(-__builtin_inff());
  for (std::int64_t g = 0; g < groups; ++g, row += group) {
    __m256 low = _mm256_set1_ps(__builtin_inff()), high = high_start;
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < group; i += 8) {
      const __m256 v = _mm256_loadu_ps(row + i);
      low = _mm256_min_ps(low, v);
      high = _mm256_max_ps(high, v);
      // As integers, the magnitudes of infinity and NaN are the largest.
      largest = _mm256_max_epi32(largest, _mm256_castps_si256(magnitude(v)));
    }
    const __m256i not_finite = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(0x7F7FFFFF));
    if (_mm256_testz_si256(not_finite, not_finite) == 0) return false;
    const GroupParams p =
        fit_group<kGpu>(reduce_min(low), reduce_max(high), static_cast<float>((1 << kBits) - 1));
    store_scale(type, p.scale, scales, g);
    store_scale(type, p.bias, biases, g);
    const __m256 scale = _mm256_set1_ps(p.scale), bias = _mm256_set1_ps(p.bias);
    for (int i = 0; i < group; i += 32, codes += 4 * kBits) {
      pack32<kBits>(encode32<kBits, kGpu>(row + i, scale, bias), codes);
    }
  }
  return true;
}

// For dword i of 16: which two bytes of a 16-byte lane hold code i, and by how much to shift them.
template <int kBits>
struct UnpackOrder {
  alignas(32) std::uint8_t source[64];
  alignas(32) std::int32_t shift[16];
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

// Codes 8 * part .. 8 * part + 7 of the 16 in `bytes`, as values.
template <int kBits>
__m256 decode8(__m256i bytes, int part, __m256 scale, __m256 bias) {
  const __m256i source =
      _mm256_load_si256(reinterpret_cast<const __m256i*>(kUnpackOrder<kBits>.source + 32 * part));
  const __m256i shift =
      _mm256_load_si256(reinterpret_cast<const __m256i*>(kUnpackOrder<kBits>.shift + 8 * part));
  const __m256i code =
      _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(bytes, source), shift),
                       _mm256_set1_epi32((1 << kBits) - 1));
  return _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(code), bias);
}

template <int kBits>
void decode_affine(const WeightRows& w, std::int64_t row, std::int64_t begin, std::int64_t n,
                   float* out) {
  const std::byte* codes = w.values + (row * w.cols + begin) / 8 * kBits;
  const std::byte* end = codes + n / 8 * kBits;
  const std::int64_t row_groups = row * (w.cols / w.group);
  for (std::int64_t c = begin; c < begin + n;) {
    const std::int64_t g = c / w.group;
    const std::int64_t stop = (g + 1) * w.group < begin + n ? (g + 1) * w.group : begin + n;
    const __m256 scale = _mm256_set1_ps(load_scale(w.scale_kind, w.scales, row_groups + g));
    const __m256 bias = _mm256_set1_ps(load_scale(w.scale_kind, w.biases, row_groups + g));
    for (; c < stop; c += 16, codes += 2 * kBits, out += 16) {
      // A full load where the row still has 16 bytes, else only the bytes that are there.
      __m128i bytes;
      if (end - codes >= 16) {
        bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
      } else {
        alignas(16) std::byte padded[16] = {};
        std::memcpy(padded, codes, 2 * kBits);
        bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(padded));
      }
      const __m256i both = _mm256_broadcastsi128_si256(bytes);
      _mm256_storeu_ps(out, decode8<kBits>(both, 0, scale, bias));
      _mm256_storeu_ps(out + 8, decode8<kBits>(both, 1, scale, bias));
    }
  }
}

__m256 widen8(WeightKind kind, const std::byte* halves) {
  const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves));
  if (kind == WeightKind::kF16) return _mm256_cvtph_ps(h);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

void decode_float(const WeightRows& w, std::int64_t first, std::int64_t n, float* out) {
  if (w.kind == WeightKind::kF32) {
    std::memcpy(out, w.values + first * 4, static_cast<std::size_t>(n) * 4);
    return;
  }
  const std::byte* values = w.values + first * 2;
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, widen8(w.kind, values + i * 2));
  if (i == n) return;
  const auto left = static_cast<std::size_t>(n - i);
  alignas(16) std::byte padded[16] = {};
  std::memcpy(padded, values + i * 2, left * 2);
  alignas(32) float widened[8];
  _mm256_store_ps(widened, widen8(w.kind, padded));
  std::memcpy(out + i, widened, left * 4);
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

}  // namespace qx::codec_avx2
