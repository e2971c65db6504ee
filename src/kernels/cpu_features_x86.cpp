// CPUID and XGETBV; bit numbers from Intel's Software Developer's Manual, volume 2A, CPUID.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu_features.h"

#include <cpuid.h>

#include <cstdint>

namespace qx {
namespace {

constexpr bool has_bit(unsigned word, int bit) {
  return ((word >> bit) & 1u) != 0;
}

// The register states that the operating system saves on a switch of threads.
std::uint64_t enabled_states() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures features;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
  const bool os_xsave = has_bit(c, 27);
  const bool fma = has_bit(c, 12), f16c = has_bit(c, 29), avx = has_bit(c, 28);
  if (!os_xsave || !avx) return features;

  const std::uint64_t states = enabled_states();
  const bool ymm = (states & 0x06) == 0x06;         // XMM and the upper halves of YMM
  const bool zmm = ymm && (states & 0xE0) == 0xE0;  // masks, upper halves of ZMM, ZMM16-31
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return features;
  features.avx2 = ymm && fma && f16c && has_bit(b, 5);
  features.avx512 = features.avx2 && zmm && has_bit(b, 16) && has_bit(b, 17) && has_bit(b, 30) &&
                    has_bit(b, 31) && has_bit(c, 1) && has_bit(c, 11);
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    features.avxvnni = features.avx2 && has_bit(a, 4);
    features.avx512bf16 = features.avx512 && has_bit(a, 5);
  }
  return features;
}

}  // namespace qx
