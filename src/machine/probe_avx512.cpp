// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "machine/probe.h"

namespace qx {
namespace {

#define QX_REGISTER "v"
#include "machine/probe_loop_inl.h"

std::uint64_t fold(__m512i v) {
  alignas(64) std::uint64_t words[8];
  _mm512_store_si512(words, v);
  std::uint64_t result = 0;
  for (const std::uint64_t w : words) result += w;
  return result;
}

std::uint64_t run_int8(std::int64_t steps) {
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(2);
  const auto next = [&](__m512i c) { return _mm512_dpbusd_epi32(c, a, b); };
  QX_PROBE_LOOP(__m512i, _mm512_setzero_si512(), next, _mm512_add_epi32);
  return fold(sum);
}

std::uint64_t run_int16(std::int64_t steps) {
  const __m512i a = _mm512_set1_epi16(3), b = _mm512_set1_epi16(2);
  const auto next = [&](__m512i c) { return _mm512_dpwssd_epi32(c, a, b); };
  QX_PROBE_LOOP(__m512i, _mm512_setzero_si512(), next, _mm512_add_epi32);
  return fold(sum);
}

std::uint64_t run_f32(std::int64_t steps) {
  const __m512 a = _mm512_set1_ps(0.5f);
  const auto next = [&](__m512 c) { return _mm512_fmadd_ps(c, a, a); };
  QX_PROBE_LOOP(__m512, _mm512_setzero_ps(), next, _mm512_add_ps);
  return fold(_mm512_castps_si512(sum));
}

std::uint64_t read_lines(const std::byte* data, std::size_t bytes) {
  __m512i sums[8];
  for (auto& s : sums) s = _mm512_setzero_si512();
  for (std::size_t at = 0; at < bytes; at += 512) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      sums[i] = _mm512_xor_si512(sums[i], _mm512_loadu_si512(data + at + i * 64));
    }
  }
  for (int i = 1; i < 8; ++i) sums[0] = _mm512_xor_si512(sums[0], sums[i]);
  return fold(sums[0]);
}

}  // namespace

constinit const ProbeTable kAvx512Probes = {"avx512",
                                            {"vpdpbusd", kProbeChains * 64, run_int8},
                                            {"vpdpwssd", kProbeChains * 32, run_int16},
                                            {"vfmadd zmm", kProbeChains * 16, run_f32},
                                            read_lines};

}  // namespace qx
