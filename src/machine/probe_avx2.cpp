// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "machine/probe.h"

namespace qx {
namespace {

#define QX_OPAQUE(v) __asm__ volatile("" : "+x"(v))

std::uint64_t fold(__m256i v) {
  alignas(32) std::uint64_t words[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), v);
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

std::uint64_t sum_up(const __m256i* chains) {
  __m256i total = chains[0];
  for (int c = 1; c < kProbeChains; ++c) total = _mm256_add_epi32(total, chains[c]);
  return fold(total);
}

// 8-bit products without VNNI: pairs to 16 bits (saturating, which small values never reach), then
// to 32, then the sum: three instructions for 32 products.
std::uint64_t run_int8(std::int64_t steps) {
  __m256i chains[kProbeChains];
  for (auto& c : chains) c = _mm256_setzero_si256();
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(2);
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (auto& c : chains) {
      QX_OPAQUE(a);  // else one product would serve all chains
      c = _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
    }
  }
  return sum_up(chains);
}

std::uint64_t run_int16(std::int64_t steps) {
  __m256i chains[kProbeChains];
  for (auto& c : chains) c = _mm256_setzero_si256();
  __m256i a = _mm256_set1_epi16(3);
  const __m256i b = _mm256_set1_epi16(2);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (auto& c : chains) {
      QX_OPAQUE(a);
      c = _mm256_add_epi32(c, _mm256_madd_epi16(a, b));
    }
  }
  return sum_up(chains);
}

std::uint64_t run_f32(std::int64_t steps) {
  __m256 chains[kProbeChains];
  for (auto& c : chains) c = _mm256_setzero_ps();
  __m256 a = _mm256_set1_ps(0.5f);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (auto& c : chains) c = _mm256_fmadd_ps(c, a, a);
    QX_OPAQUE(a);
  }
  __m256i bits[kProbeChains];
  for (int c = 0; c < kProbeChains; ++c) bits[c] = _mm256_castps_si256(chains[c]);
  return sum_up(bits);
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
