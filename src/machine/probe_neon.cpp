// SPDX-License-Identifier: Apache-2.0
#include <arm_neon.h>

#include "machine/probe.h"

namespace qx {
namespace {

#include "machine/probe_neon_inl.h"

std::uint64_t run_int8(std::int64_t steps) {
  int32x4_t chains[kProbeChains];
  for (auto& c : chains) c = vdupq_n_s32(0);
  int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(2);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (auto& c : chains) c = vdotq_s32(c, a, b);
    QX_OPAQUE(a);
    QX_OPAQUE(b);
  }
  return sum_up(chains);
}

}  // namespace

constinit const ProbeTable kNeonProbes = {"neon",
                                          {"sdot", kProbeChains * 16, run_int8},
                                          {"smlal, smlal2", kProbeChains * 8, run_int16},
                                          {"fmla", kProbeChains * 4, run_f32},
                                          read_lines};

}  // namespace qx
