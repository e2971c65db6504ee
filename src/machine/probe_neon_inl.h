// Probes that every 64-bit Arm machine with dot products has. Included by one file per instruction
// set, into its anonymous namespace.
// SPDX-License-Identifier: Apache-2.0

#define QX_REGISTER "w"
#include "machine/probe_loop_inl.h"

inline std::uint64_t fold(uint8x16_t v) {
  const uint64x2_t words = vreinterpretq_u64_u8(v);
  return vgetq_lane_u64(words, 0) + vgetq_lane_u64(words, 1);
}

// smlal and smlal2: four products each.
inline std::uint64_t run_int16(std::int64_t steps) {
  const int16x8_t a = vdupq_n_s16(3), b = vdupq_n_s16(2);
  const auto next = [&](int32x4_t c) {
    return vmlal_high_s16(vmlal_s16(c, vget_low_s16(a), vget_low_s16(b)), a, b);
  };
  QX_PROBE_LOOP(int32x4_t, vdupq_n_s32(0), next, vaddq_s32);
  return fold(vreinterpretq_u8_s32(sum));
}

inline std::uint64_t run_f32(std::int64_t steps) {
  const float32x4_t a = vdupq_n_f32(0.5f);
  const auto next = [&](float32x4_t c) { return vfmaq_f32(a, c, a); };
  QX_PROBE_LOOP(float32x4_t, vdupq_n_f32(0.0f), next, vaddq_f32);
  return fold(vreinterpretq_u8_f32(sum));
}

inline std::uint64_t read_lines(const std::byte* data, std::size_t bytes) {
  uint8x16_t sums[8];
  for (auto& s : sums) s = vdupq_n_u8(0);
  for (std::size_t at = 0; at < bytes; at += 128) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const auto* from = reinterpret_cast<const std::uint8_t*>(data + at + i * 16);
      sums[i] = veorq_u8(sums[i], vld1q_u8(from));
    }
  }
  for (int i = 1; i < 8; ++i) sums[0] = veorq_u8(sums[0], sums[i]);
  return fold(sums[0]);
}
