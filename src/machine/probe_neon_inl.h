// Probes that every 64-bit Arm machine with dot products has. Included by one file per instruction
// set, into its anonymous namespace.
// SPDX-License-Identifier: Apache-2.0

#define QX_OPAQUE(v) __asm__ volatile("" : "+w"(v))

inline std::uint64_t fold(uint8x16_t v) {
  const uint64x2_t words = vreinterpretq_u64_u8(v);
  return vgetq_lane_u64(words, 0) ^ vgetq_lane_u64(words, 1);
}

inline std::uint64_t sum_up(const int32x4_t* chains) {
  int32x4_t total = chains[0];
  for (int c = 1; c < kProbeChains; ++c) total = vaddq_s32(total, chains[c]);
  return fold(vreinterpretq_u8_s32(total));
}

// vmlal_s16 and vmlal_high_s16: four products each.
inline std::uint64_t run_int16(std::int64_t steps) {
  int32x4_t chains[kProbeChains];
  for (auto& c : chains) c = vdupq_n_s32(0);
  int16x8_t a = vdupq_n_s16(3), b = vdupq_n_s16(2);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (auto& c : chains) c = vmlal_s16(c, vget_low_s16(a), vget_low_s16(b));
#pragma GCC unroll 16
    for (auto& c : chains) c = vmlal_high_s16(c, a, b);
    QX_OPAQUE(a);
    QX_OPAQUE(b);
  }
  return sum_up(chains);
}

inline std::uint64_t run_f32(std::int64_t steps) {
  float32x4_t chains[kProbeChains];
  for (auto& c : chains) c = vdupq_n_f32(0.0f);
  float32x4_t a = vdupq_n_f32(0.5f);
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (auto& c : chains) c = vfmaq_f32(a, c, a);
    QX_OPAQUE(a);
  }
  int32x4_t bits[kProbeChains];
  for (int c = 0; c < kProbeChains; ++c) bits[c] = vreinterpretq_s32_f32(chains[c]);
  return sum_up(bits);
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
