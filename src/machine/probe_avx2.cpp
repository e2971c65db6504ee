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

// 8-bit products without VNNI: pairs to 16 bits (saturating, which small values never reach), then
// to 32, then the sum: three instructions for 32 products. The empty asm keeps one product from
// serving all chains.
std::uint64_t run_int8(std::int64_t steps) {
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(2), ones = _mm256_set1_epi16(1);
  const auto next = [&](__m256i c) {
    __asm__ volatile("" : "+x"(a));
    return _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
  };
  QX_PROBE_LOOP(__m256i, _mm256_setzero_si256(), next, _mm256_add_epi32);
  return fold(sum);
}

std::uint64_t run_int16(std::int64_t steps) {
  __m256i a = _mm256_set1_epi16(3);
  const __m256i b = _mm256_set1_epi16(2);
  const auto next = [&](__m256i c) {
    __asm__ volatile("" : "+x"(a));
    return _mm256_add_epi32(c, _mm256_madd_epi16(a, b));
  };
  QX_PROBE_LOOP(__m256i, _mm256_setzero_si256(), next, _mm256_add_epi32);
  return fold(sum);
}

std::uint64_t run_f32(std::int64_t steps) {
  const __m256 a = _mm256_set1_ps(0.5f);
  const auto next = [&](__m256 c) { return _mm256_fmadd_ps(c, a, a); };
  QX_PROBE_LOOP(__m256, _mm256_setzero_ps(), next, _mm256_add_ps);
  return fold(_mm256_castps_si256(sum));
}

std::uint64_t read_lines(const std::byte* data, std::size_t bytes) {
  __m256i sums[8];
  for (auto& s : sums) s = _mm256_setzero_si256();
  for (std::size_t at = 0; at < bytes; at += 256) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const auto* from = reinterpret_cast<const __m256i*>(data + at + i * 32);
      sums[i] = _mm256_xor_si256(sums[i], _mm256_loadu_si256(from));
    }
  }
  for (int i = 1; i < 8; ++i) sums[0] = _mm256_xor_si256(sums[0], sums[i]);
  return fold(sums[0]);
}

}  // namespace

constinit const ProbeTable kAvx2Probes = {
    "avx2",
    {"vpmaddubsw, vpmaddwd, vpaddd", kProbeChains * 32, run_int8},
    {"vpmaddwd, vpaddd", kProbeChains * 16, run_int16},
    {"vfmadd ymm", kProbeChains * 8, run_f32},
    read_lines};

}  // namespace qx
