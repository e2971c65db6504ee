// Integer kernels for any aarch64 processor: products of bytes by SMULL, 16 bits wide and exact,
// added in pairs.
// SPDX-License-Identifier: Apache-2.0
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace qx {
namespace {

constexpr bool kSignedWeights = true;

inline int32x4_t dot(int32x4_t acc, uint8x16_t w, int8x16_t x) {
  const int8x16_t v = vreinterpretq_s8_u8(w);
  acc = vpadalq_s16(acc, vmull_s8(vget_low_s8(v), vget_low_s8(x)));
  return vpadalq_s16(acc, vmull_high_s8(v, x));
}

template <int Lane>
inline int32x4_t dot_lane(int32x4_t acc, uint8x16_t w, int8x16_t x) {
  const int8x16_t v = vreinterpretq_s8_u8(w);
  const int8x16_t four = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), Lane));
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(v), vget_low_s8(four)));
  const int32x4_t high = vpaddlq_s16(vmull_high_s8(v, four));
  return vaddq_s32(acc, vpaddq_s32(low, high));
}

}  // namespace
}  // namespace qx

#include "kernels/integer_lanes_inl.h"
#include "kernels/integer_neon_inl.h"

QX_DEFINE_INTEGER(integer_neon)
