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

struct GroupParams {
  float scale, bias;
};

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

template <bool kGpu>
float round_scalar(float x) {
  return _mm512_cvtss_f32(round_codes<kGpu>(_mm512_set1_ps(x)));
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
    _mm256_mask_storeu_epi8(out, static_cast<__mmask32>((1ull << (4 * kBits)) - 1), bytes);
  }
}

template <int kBits, bool kGpu>
bool encode(const float* row, std::int64_t groups, int group, ScaleKind type, std::byte* codes,
            std::byte* scales, std::byte* biases) {
  constexpr float kLevels = (1 << kBits) - 1;
  const __m512 infinity = _mm512_set1_ps(__builtin_inff());
  const __m512 high_start = kGpu ? _mm512_setzero_ps() : _mm512_set1_ps(-__builtin_inff());
  const __m512 zero = _mm512_setzero_ps(), levels = _mm512_set1_ps(kLevels);
  for (std::int64_t g = 0; g < groups; ++g, row += group) {
    __m512 low = infinity, high = high_start;
    __m512i largest = _mm512_setzero_si512();
    for (int i = 0; i < group; i += 16) {
      const __m512 v = _mm512_loadu_ps(row + i);
      low = _mm512_min_ps(low, v);
      high = _mm512_max_ps(high, v);
      // As integers, the magnitudes of infinity and NaN are the largest.
      largest = _mm512_max_epu32(largest, _mm512_castps_si512(_mm512_abs_ps(v)));
    }
    if (_mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(0x7F800000)) != 0) return false;
    const GroupParams p =
        fit_group<kGpu>(_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high), kLevels);
    store_scale(type, p.scale, scales, g);
    store_scale(type, p.bias, biases, g);
    const __m512 scale = _mm512_set1_ps(p.scale), bias = _mm512_set1_ps(p.bias);
    for (int i = 0; i < group; i += 32) {
      __m128i bytes[2];
      for (int half = 0; half < 2; ++half) {
        const __m512 v = _mm512_loadu_ps(row + i + 16 * half);
        __m512 code = round_codes<kGpu>(_mm512_div_ps(_mm512_sub_ps(v, bias), scale));
        code = _mm512_min_ps(_mm512_max_ps(code, zero), levels);  // max gives its second for NaN
        bytes[half] = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(code));
      }
      pack32<kBits>(_mm256_inserti128_si256(_mm256_castsi128_si256(bytes[0]), bytes[1], 1), codes);
      codes += 4 * kBits;
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

void decode_float(const WeightRows& w, std::int64_t first, std::int64_t n, float* out) {
  if (w.kind == WeightKind::kF32) {
    std::memcpy(out, w.values + first * 4, static_cast<std::size_t>(n) * 4);
    return;
  }
  const std::byte* values = w.values + first * 2;
  for (std::int64_t i = 0; i < n; i += 16) {
    const auto mask = static_cast<__mmask16>(n - i >= 16 ? 0xFFFFu : (1u << (n - i)) - 1);
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, values + i * 2);
    const __m512 widened =
        w.kind == WeightKind::kF16
            ? _mm512_cvtph_ps(halves)
            : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
    _mm512_mask_storeu_ps(out + i, mask, widened);
  }
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
