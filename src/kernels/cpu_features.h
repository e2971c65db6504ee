// What the processor offers AND the operating system has enabled (saved register state).
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qx {

struct CpuFeatures {
  bool avx2 = false;     // AVX2, FMA and F16C
  bool avxvnni = false;  // AVX-VNNI (its VEX encoding), and all of avx2
  bool avx512 = false;   // AVX-512 F, BW, DQ, VL, VBMI and VNNI, and all of avx2
};

// All false on processors other than x86-64.
CpuFeatures detect_cpu_features();

}  // namespace qx
