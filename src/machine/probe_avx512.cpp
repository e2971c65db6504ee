// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "machine/probe.h"

namespace qx {
namespace {

// Keeps a chain in its register and the loop in place; the compiler cannot see through it.
#define QX_OPAQUE(v) __asm__ volatile("" : "+v"(v))

std::uint64_t sum_up(const __m512i* chains) {
  __m512i total = chains[0];
  for (int c = 1; c < kProbeChains; ++c) total = _mm512_add_epi32(total, chains[c]);
  alignas(64) std::uint64_t words[8];
  _mm512_store_si512(words, total);
  std::uint64_t result = 0;
  for (const std::uint64_t w : words) result += w;
  return result;
}

std::uint64_t run_int8(std::int64_t steps) {
  __m512i chains[kProbeChains];
  for (auto& c : chains) c = _mm512_setzero_si512();
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(2);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (auto& c : chains) c = _mm512_dpbusd_epi32(c, a, b);
    QX_OPAQUE(a);
    QX_OPAQUE(b);
  }
  return sum_up(chains);
}

std::uint64_t run_int16(std::int64_t steps) {
  __m512i chains[kProbeChains];
  for (auto& c : chains) c = _mm512_setzero_si512();
  __m512i a = _mm512_set1_epi16(3), b = _mm512_set1_epi16(2);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (auto& c : chains) c = _mm512_dpwssd_epi32(c, a, b);
    QX_OPAQUE(a);
    QX_OPAQUE(b);
  }
  return sum_up(chains);
}

std::uint64_t run_f32(std::int64_t steps) {
  __m512 chains[kProbeChains];
  for (auto& c : chains) c = _mm512_setzero_ps();
  __m512 a = _mm512_set1_ps(0.5f);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (auto& c : chains) c = _mm512_fmadd_ps(c, a, a);
    QX_OPAQUE(a);
  }
  __m512i bits[kProbeChains];
  for (int c = 0; c < kProbeChains; ++c) bits[c] = _mm512_castps_si512(chains[c]);
  return sum_up(bits);
}

std::uint64_t read_lines(const std::byte* data, std::size_t bytes) {
  __m512i sums[kProbeChains];
  for (auto& s : sums) s = _mm512_setzero_si512();
  for (std::size_t at = 0; at < bytes; at += 512) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      sums[i] = _mm512_xor_si512(sums[i], _mm512_loadu_si512(data + at + i * 64));
    }
  }
  for (int i = 1; i < 8; ++i) sums[0] = _mm512_xor_si512(sums[0], sums[i]);
  alignas(64) std::uint64_t words[8];
  _mm512_store_si512(words, sums[0]);
  std::uint64_t result = 0;
  for (const std::uint64_t w : words) result ^= w;
  return result;
}

}  // namespace

constinit const ProbeTable kAvx512Probes = {"avx512",
                                            {"vpdpbusd", kProbeChains * 64, run_int8},
                                            {"vpdpwssd", kProbeChains * 32, run_int16},
                                            {"vfmadd zmm", kProbeChains * 16, run_f32},
                                            read_lines};

}  // namespace qx
