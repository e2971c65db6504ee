// group_sums() of integer_neon_inl.h by dot products with a broadcast lane: a vector of weights is
// 4 rows x 4 k, and a lane of x is the same 4 k of one plane. The including file defines
//   dot_lane<L>(acc, w, x)   acc lane i += the 4 products of w's bytes 4 i .. with x's bytes 4 L ..
// The 16 sums, a vector of each plane and two of weights use 26 registers of 32.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qx {
namespace {

constexpr int kWeightStep = 4, kActivationStep = 16;

template <int Lane>
inline void lane_step(const std::uint8_t* w, const int8x16_t (&x)[8], int32x4_t (&sums)[8][2]) {
  const uint8x16_t low = vld1q_u8(w + 32 * Lane), high = vld1q_u8(w + 32 * Lane + 16);
#pragma GCC unroll 8
  for (int s = 0; s < 8; ++s) {
    sums[s][0] = dot_lane<Lane>(sums[s][0], low, x[s]);
    sums[s][1] = dot_lane<Lane>(sums[s][1], high, x[s]);
  }
}

inline void group_sums(const std::byte* weights, const std::byte* activations, int group,
                       int32x4_t (&sums)[8][2]) {
  const auto* w = reinterpret_cast<const std::uint8_t*>(weights);
  const auto* x = reinterpret_cast<const std::int8_t*>(activations);
  int32x4_t acc[8][2];
#pragma GCC unroll 8
  for (int s = 0; s < 8; ++s) acc[s][0] = acc[s][1] = vdupq_n_s32(0);
  for (int k = 0; k < group; k += 16) {
    int8x16_t v[8];
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) v[s] = vld1q_s8(x + 16 * s);
    lane_step<0>(w, v, acc);
    lane_step<1>(w, v, acc);
    lane_step<2>(w, v, acc);
    lane_step<3>(w, v, acc);
    w += 128;
    x += 128;
  }
#pragma GCC unroll 8
  for (int s = 0; s < 8; ++s) {
    sums[s][0] = acc[s][0];
    sums[s][1] = acc[s][1];
  }
}

}  // namespace
}  // namespace qx
