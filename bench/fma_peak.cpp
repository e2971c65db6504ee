// SPDX-License-Identifier: Apache-2.0
#include "fma_peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qx {
namespace {

constexpr std::int64_t kSteps = 200'000;
constexpr int kChains = 12;  // enough to hide the latency of four or five cycles on two ports

#if defined(__x86_64__)
// The empty asm keeps each chain in a register and the loop in place.
__attribute__((target("avx512f"))) void run_avx512() {
  __m512 acc[kChains];
  for (auto& a : acc) a = _mm512_setzero_ps();
  const __m512 x = _mm512_set1_ps(0.5f);
  for (std::int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (auto& a : acc) a = _mm512_fmadd_ps(a, x, x);
#pragma GCC unroll 16
    for (auto& a : acc) __asm__ volatile("" : "+v"(a));
  }
}

__attribute__((target("avx2,fma"))) void run_avx2() {
  __m256 acc[kChains];
  for (auto& a : acc) a = _mm256_setzero_ps();
  const __m256 x = _mm256_set1_ps(0.5f);
  for (std::int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (auto& a : acc) a = _mm256_fmadd_ps(a, x, x);
#pragma GCC unroll 16
    for (auto& a : acc) __asm__ volatile("" : "+x"(a));
  }
}
#endif

double best_rate(void (*run)(), int lanes) {
  double best = 0;
  for (int repeat = 0; repeat < 300; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(kSteps) * kChains * lanes / took.count());
  }
  return best;
}

}  // namespace

double fma_peak(const char* table) {
#if defined(__x86_64__)
  if (std::string_view(table) == "avx512") return best_rate(run_avx512, 16);
  if (std::string_view(table) == "avx2") return best_rate(run_avx2, 8);
#endif
  static_cast<void>(table);
  static_cast<void>(best_rate);
  return 0;
}

}  // namespace qx
