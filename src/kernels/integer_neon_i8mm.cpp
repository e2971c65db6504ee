// Integer kernels for processors with FEAT_I8MM (Armv8.6; Apple's from the M2 and A15): USDOT takes
// codes unsigned, and USMMLA multiplies 2 x 8 by 8 x 2 bytes, twice the products of a dot product.
// SPDX-License-Identifier: Apache-2.0
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace qx {
namespace {

constexpr bool kSignedWeights = false;

inline int32x4_t dot(int32x4_t acc, uint8x16_t w, int8x16_t x) {
  return vusdotq_s32(acc, w, x);
}

constexpr int kWeightStep = 8, kActivationStep = 8;

// Each sum is 2 weight rows x 2 planes. The 16 sums, four vectors of x and one of weights use 21
// registers of 32.
inline void group_sums(const std::byte* weights, const std::byte* activations, int group,
                       int32x4_t (&sums)[8][2]) {
  const auto* w = reinterpret_cast<const std::uint8_t*>(weights);
  const auto* x = reinterpret_cast<const std::int8_t*>(activations);
  int32x4_t acc[4][4];  // pair of planes, pair of weight rows
#pragma GCC unroll 4
  for (int s = 0; s < 4; ++s) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) acc[s][r] = vdupq_n_s32(0);
  }
  for (int k = 0; k < group; k += 8) {
    int8x16_t v[4];
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) v[s] = vld1q_s8(x + 16 * s);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const uint8x16_t pair = vld1q_u8(w + 16 * r);
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) acc[s][r] = vusmmlaq_s32(acc[s][r], pair, v[s]);
    }
    w += 64;
    x += 64;
  }
#pragma GCC unroll 4
  for (int s = 0; s < 4; ++s) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      sums[2 * s][h] = vuzp1q_s32(acc[s][2 * h], acc[s][2 * h + 1]);
      sums[2 * s + 1][h] = vuzp2q_s32(acc[s][2 * h], acc[s][2 * h + 1]);
    }
  }
}

}  // namespace
}  // namespace qx

#include "kernels/integer_neon_inl.h"

QX_DEFINE_INTEGER(integer_neon_i8mm)
