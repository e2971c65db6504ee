// What the processor offers AND the operating system has enabled (saved register state).
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qx {

struct CpuFeatures {
  bool avx2 = false;        // AVX2, FMA and F16C
  bool avxvnni = false;     // AVX-VNNI (its VEX encoding), and all of avx2
  bool avx512 = false;      // AVX-512 F, BW, DQ, VL, VBMI and VNNI, and all of avx2
  bool avx512bf16 = false;  // AVX512_BF16, and all of avx512
  bool dotprod = false;     // aarch64: SDOT and UDOT
  bool i8mm = false;        // aarch64: USDOT, SMMLA and USMMLA, and all of dotprod
};

// Defined in one file per architecture, cpu_features_x86.cpp and cpu_features_arm.cpp, and nowhere
// else: other processors run the scalar table.
CpuFeatures detect_cpu_features();

}  // namespace qx
