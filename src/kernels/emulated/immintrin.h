// AVX-512 without a processor that has it: stands in the place of the compiler's <immintrin.h> when a kernel
// is compiled for tests, so that `avx512` is checked on every x86 machine. SIMDe (libsimde-dev) has most
// intrinsics in plain C; those below are missing in its version 0.7.4. They follow Intel's Intrinsics Guide.
// Compile with the baseline instruction set: SIMDe's types would collide with the compiler's own.
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Intrinsics are optimized, and called; the kernels, which unroll thousands of them, are compiled with -O0:
// half a minute where -O1 took ten.
#pragma GCC push_options
#pragma GCC optimize("O2")

#define SIMDE_NO_INLINE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <cmath>
#include <cstdint>
#include <cstring>

using __mmask8 = std::uint8_t;
using __mmask16 = std::uint16_t;
using __mmask32 = std::uint32_t;
using __mmask64 = std::uint64_t;

#define QX_EMULATED_CALL __attribute__((noinline, unused)) static

namespace qx::emulated {

// Lane by lane, as arrays of T.
template <class T, class V>
struct Lanes {
  static constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(T));
  T at[kCount];
  Lanes() : at{} {}
  explicit Lanes(const V& v) { std::memcpy(at, &v, sizeof v); }
  V vector() const {
    V v;
    std::memcpy(&v, at, sizeof v);
    return v;
  }
};

// Masked elements are not touched, as the instructions promise.
template <class T, class V, class Mask>
V load_masked(Mask mask, const void* from) {
  Lanes<T, V> out;
  for (int i = 0; i < out.kCount; ++i) {
    if (mask >> i & 1) {
      std::memcpy(&out.at[i], static_cast<const char*>(from) + i * sizeof(T), sizeof(T));
    }
  }
  return out.vector();
}
template <class T, class V, class Mask>
void store_masked(void* to, Mask mask, const V& v) {
  const Lanes<T, V> in(v);
  for (int i = 0; i < in.kCount; ++i) {
    if (mask >> i & 1) {
      std::memcpy(static_cast<char*>(to) + i * sizeof(T), &in.at[i], sizeof(T));
    }
  }
}

}  // namespace qx::emulated

QX_EMULATED_CALL __m512i _mm512_maskz_loadu_epi8(__mmask64 k, const void* p) {
  return qx::emulated::load_masked<std::uint8_t, __m512i>(k, p);
}
QX_EMULATED_CALL __m256i _mm256_maskz_loadu_epi8(__mmask32 k, const void* p) {
  return qx::emulated::load_masked<std::uint8_t, __m256i>(k, p);
}
QX_EMULATED_CALL __m256i _mm256_maskz_loadu_epi16(__mmask16 k, const void* p) {
  return qx::emulated::load_masked<std::uint16_t, __m256i>(k, p);
}
QX_EMULATED_CALL __m128i _mm_maskz_loadu_epi16(__mmask8 k, const void* p) {
  return qx::emulated::load_masked<std::uint16_t, __m128i>(k, p);
}
QX_EMULATED_CALL __m128 _mm_maskz_loadu_ps(__mmask8 k, const void* p) {
  return qx::emulated::load_masked<float, __m128>(k, p);
}
QX_EMULATED_CALL __m512 _mm512_maskz_loadu_ps(__mmask16 k, const void* p) {
  return qx::emulated::load_masked<float, __m512>(k, p);
}
QX_EMULATED_CALL void _mm_mask_storeu_ps(void* p, __mmask8 k, __m128 v) {
  qx::emulated::store_masked<float>(p, k, v);
}
QX_EMULATED_CALL void _mm512_mask_storeu_ps(void* p, __mmask16 k, __m512 v) {
  qx::emulated::store_masked<float>(p, k, v);
}

QX_EMULATED_CALL __m512 _mm512_cvtepi32_ps(__m512i v) {
  const qx::emulated::Lanes<std::int32_t, __m512i> in(v);
  qx::emulated::Lanes<float, __m512> out;
  for (int i = 0; i < 16; ++i) out.at[i] = static_cast<float>(in.at[i]);
  return out.vector();
}
QX_EMULATED_CALL __m512i _mm512_cvtps_epi32(__m512 v) {  // in the rounding mode, half to even
  const qx::emulated::Lanes<float, __m512> in(v);
  qx::emulated::Lanes<std::int32_t, __m512i> out;
  for (int i = 0; i < 16; ++i) out.at[i] = static_cast<std::int32_t>(std::nearbyint(in.at[i]));
  return out.vector();
}
QX_EMULATED_CALL __m128i _mm512_cvtepi32_epi8(__m512i v) {  // the low bytes
  const qx::emulated::Lanes<std::uint32_t, __m512i> in(v);
  qx::emulated::Lanes<std::uint8_t, __m128i> out;
  for (int i = 0; i < 16; ++i) out.at[i] = static_cast<std::uint8_t>(in.at[i]);
  return out.vector();
}
QX_EMULATED_CALL __m512i _mm512_cvtepu16_epi32(__m256i v) {
  const qx::emulated::Lanes<std::uint16_t, __m256i> in(v);
  qx::emulated::Lanes<std::uint32_t, __m512i> out;
  for (int i = 0; i < 16; ++i) out.at[i] = in.at[i];
  return out.vector();
}
QX_EMULATED_CALL __m512i _mm512_cvtepu32_epi64(__m256i v) {
  const qx::emulated::Lanes<std::uint32_t, __m256i> in(v);
  qx::emulated::Lanes<std::uint64_t, __m512i> out;
  for (int i = 0; i < 8; ++i) out.at[i] = in.at[i];
  return out.vector();
}
QX_EMULATED_CALL __m512 _mm512_cvtph_ps(__m256i v) {
  const qx::emulated::Lanes<__m128i, __m256i> in(v);
  qx::emulated::Lanes<float, __m512> out;
  for (int i = 0; i < 4; ++i) {
    const __m128 four = _mm_cvtph_ps(i % 2 == 0 ? in.at[i / 2] : _mm_srli_si128(in.at[i / 2], 8));
    std::memcpy(out.at + 4 * i, &four, sizeof four);
  }
  return out.vector();
}
QX_EMULATED_CALL __m512i _mm512_srai_epi32(__m512i v, unsigned count) {
  qx::emulated::Lanes<std::int32_t, __m512i> lanes(v);
  for (std::int32_t& lane : lanes.at) lane >>= count > 31 ? 31 : count;
  return lanes.vector();
}
QX_EMULATED_CALL unsigned _mm512_reduce_max_epu32(__m512i v) {
  const qx::emulated::Lanes<std::uint32_t, __m512i> in(v);
  std::uint32_t largest = 0;
  for (const std::uint32_t lane : in.at) largest = lane > largest ? lane : largest;
  return largest;
}
QX_EMULATED_CALL int _mm512_reduce_add_epi32(__m512i v) {
  const qx::emulated::Lanes<std::int32_t, __m512i> in(v);
  std::uint32_t sum = 0;
  for (const std::int32_t lane : in.at) sum += static_cast<std::uint32_t>(lane);
  return static_cast<int>(sum);
}
QX_EMULATED_CALL __m256 _mm512_extractf32x8_ps(__m512 v, int half) {
  return qx::emulated::Lanes<__m256, __m512>(v).at[half];
}
// SIMDe's own rounds twice.
#undef _mm512_fmadd_ps
QX_EMULATED_CALL __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  const qx::emulated::Lanes<float, __m512> x(a), y(b);
  qx::emulated::Lanes<float, __m512> out(c);
  for (int i = 0; i < 16; ++i) out.at[i] = std::fma(x.at[i], y.at[i], out.at[i]);
  return out.vector();
}
// Lanes without their bit keep c.
QX_EMULATED_CALL __m512 _mm512_mask3_fmadd_ps(__m512 a, __m512 b, __m512 c, __mmask16 k) {
  const qx::emulated::Lanes<float, __m512> x(a), y(b);
  qx::emulated::Lanes<float, __m512> out(c);
  for (int i = 0; i < 16; ++i) {
    if (k >> i & 1) out.at[i] = std::fma(x.at[i], y.at[i], out.at[i]);
  }
  return out.vector();
}

#pragma GCC pop_options
