// Integer kernels for processors with FEAT_DotProd (from Armv8.2 on; Apple's from the A13 and M1):
// SDOT adds four products of bytes to each 32-bit lane.
// SPDX-License-Identifier: Apache-2.0
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace qx {
namespace {

constexpr bool kSignedWeights = true;

inline int32x4_t dot(int32x4_t acc, uint8x16_t w, int8x16_t x) {
  return vdotq_s32(acc, vreinterpretq_s8_u8(w), x);
}

template <int Lane>
inline int32x4_t dot_lane(int32x4_t acc, uint8x16_t w, int8x16_t x) {
  return vdotq_laneq_s32(acc, vreinterpretq_s8_u8(w), x, Lane);
}

}  // namespace
}  // namespace qx

#include "kernels/integer_lanes_inl.h"
#include "kernels/integer_neon_inl.h"

QX_DEFINE_INTEGER(integer_neon_dotprod)
