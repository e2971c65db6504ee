// AVX-VNNI on processors with AVX2 only: included before integer_avxvnni.cpp where that is compiled for tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace qx::emulated {

// vpdpbusd: four products of an unsigned byte and a signed one are added to each 32-bit lane, which
// wraps around.
inline __m256i dpbusd(__m256i sum, __m256i codes, __m256i x) {
  std::uint32_t total[8];
  std::uint8_t a[32];
  std::int8_t b[32];
  std::memcpy(total, &sum, sizeof sum);
  std::memcpy(a, &codes, sizeof codes);
  std::memcpy(b, &x, sizeof x);
  for (int i = 0; i < 32; ++i) total[i / 4] += static_cast<std::uint32_t>(a[i] * b[i]);
  std::memcpy(&sum, total, sizeof sum);
  return sum;
}

}  // namespace qx::emulated

#define _mm256_dpbusd_avx_epi32 qx::emulated::dpbusd
