// The loops whose speed is a machine's peak, one table per instruction set. Not the program's
// kernels: these compute nothing of use. peaks.h times them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace qx {

// Runs `steps` rounds of independent multiply-adds on registers alone and returns a value that
// depends on all of them, so that no compiler can leave them out. Threads: pure.
struct ComputeProbe {
  const char* instruction = "";  // "vpdpbusd", for reports
  std::int64_t macs_per_step = 0;
  std::uint64_t (*run)(std::int64_t steps) = nullptr;  // null: this instruction set has none
};

struct ProbeTable {
  const char* name;    // "portable", "avx2", "avxvnni", "avx512", "neon-dotprod", "neon-i8mm"
  ComputeProbe int8;   // 8-bit times 8-bit summed in 32 bits
  ComputeProbe int16;  // 16-bit times 16-bit summed in 32 bits
  ComputeProbe f32;    // float32 fused multiply-add
  // Reads `bytes` (a multiple of 4096) from memory and returns a value that every byte changes.
  // Threads: pure.
  std::uint64_t (*read)(const std::byte* data, std::size_t bytes);
};

// Chains of dependent sums: enough to hide a latency of five cycles on two units. More would not
// fit the sixteen registers of AVX2.
constexpr int kProbeChains = 12;

extern const ProbeTable kPortableProbes;
#if defined(QX_PROBES_X86)
extern const ProbeTable kAvx2Probes;
extern const ProbeTable kAvx512Probes;
// What AVX-VNNI adds to kAvx2Probes.
extern const ComputeProbe kAvxVnniInt8, kAvxVnniInt16;
#elif defined(QX_PROBES_ARM)
extern const ProbeTable kDotprodProbes;
extern const ProbeTable kI8mmProbes;
#endif

}  // namespace qx
