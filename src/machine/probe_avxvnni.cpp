// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "machine/probe.h"

namespace qx {
namespace {

#define QX_REGISTER "x"
#include "machine/probe_loop_inl.h"

std::uint64_t fold(__m256i v) {
  alignas(32) std::uint64_t words[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), v);
  return words[0] + words[1] + words[2] + words[3];
}

std::uint64_t run_int8(std::int64_t steps) {
  const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(2);
  const auto next = [&](__m256i c) { return _mm256_dpbusd_avx_epi32(c, a, b); };
  QX_PROBE_LOOP(__m256i, _mm256_setzero_si256(), next, _mm256_add_epi32);
  return fold(sum);
}

std::uint64_t run_int16(std::int64_t steps) {
  const __m256i a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(2);
  const auto next = [&](__m256i c) { return _mm256_dpwssd_avx_epi32(c, a, b); };
  QX_PROBE_LOOP(__m256i, _mm256_setzero_si256(), next, _mm256_add_epi32);
  return fold(sum);
}

}  // namespace

constinit const ComputeProbe kAvxVnniInt8 = {"vpdpbusd ymm", kProbeChains * 32, run_int8};
constinit const ComputeProbe kAvxVnniInt16 = {"vpdpwssd ymm", kProbeChains * 16, run_int16};

}  // namespace qx
