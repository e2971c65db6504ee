// SPDX-License-Identifier: Apache-2.0
#include <arm_neon.h>

#include "machine/probe.h"

namespace qx {
namespace {

#include "machine/probe_neon_inl.h"

std::uint64_t run_int8(std::int64_t steps) {
  const int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(2);
  const auto next = [&](int32x4_t c) { return vdotq_s32(c, a, b); };
  QX_PROBE_LOOP(int32x4_t, vdupq_n_s32(0), next, vaddq_s32);
  return fold(vreinterpretq_u8_s32(sum));
}

}  // namespace

constinit const ProbeTable kDotprodProbes = {"neon-dotprod",
                                             {"sdot", kProbeChains * 16, run_int8},
                                             {"smlal, smlal2", kProbeChains * 8, run_int16},
                                             {"fmla", kProbeChains * 4, run_f32},
                                             read_lines};

}  // namespace qx
