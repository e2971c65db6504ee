// Unpacking of affine codes with NEON: 32 codes of a row's little-endian bit stream, which are
// 4 * Bits bytes, into two vectors of bytes in order. Reads none but those bytes, at any address.
// Included by the NEON translation units only; everything has internal linkage.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace qx {
namespace {

struct Codes32 {
  uint8x16_t first, second;
};

inline uint8x16_t load_bytes_16(const std::byte* p) {
  return vld1q_u8(reinterpret_cast<const std::uint8_t*>(p));
}
inline uint8x8_t load_bytes_8(const std::byte* p) {
  return vld1_u8(reinterpret_cast<const std::uint8_t*>(p));
}

// How 16 codes are taken out of a register whose bit First is the first bit of the first: each pair
// lies in two neighbouring bytes (2 * 6 bits from bit 4, 2 * 5 from bit 6), which are looked up as
// one 16-bit lane and shifted down.
template <int Bits, int First>
struct Spread {
  std::uint8_t bytes[16];
  std::int16_t shifts[8];
  constexpr Spread() : bytes(), shifts() {
    for (int i = 0; i < 8; ++i) {
      const int bit = First + 2 * i * Bits;
      // Past the register only for a pair that ends in the byte before; the lookup gives 0 there.
      bytes[2 * i] = static_cast<std::uint8_t>(bit / 8);
      bytes[2 * i + 1] = static_cast<std::uint8_t>(bit / 8 + 1);
      shifts[i] = static_cast<std::int16_t>(-(bit % 8));
    }
  }
};
template <int Bits, int First>
constexpr Spread<Bits, First> kSpread = {};

template <int Bits, int First>
inline uint8x16_t spread(uint8x16_t packed) {
  constexpr const Spread<Bits, First>& how = kSpread<Bits, First>;
  const uint16x8_t pairs = vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(packed, vld1q_u8(how.bytes))),
                                     vld1q_s16(how.shifts));
  // The second code of a pair moves up to the second byte.
  const uint16x8_t bytes = vbslq_u16(vdupq_n_u16(0x00FF), pairs, vshlq_n_u16(pairs, 8 - Bits));
  return vandq_u8(vreinterpretq_u8_u16(bytes), vdupq_n_u8((1 << Bits) - 1));
}

template <int Bits>
inline Codes32 unpack_32(const std::byte* p) {
  if constexpr (Bits == 2) {
    const uint8x16_t v = vcombine_u8(load_bytes_8(p), vdup_n_u8(0));
    const uint8x16_t pairs = vzip1q_u8(v, vshrq_n_u8(v, 4));
    const uint8x16_t mask = vdupq_n_u8(3);
    const uint8x16_t even = vandq_u8(pairs, mask), odd = vandq_u8(vshrq_n_u8(pairs, 2), mask);
    return {vzip1q_u8(even, odd), vzip2q_u8(even, odd)};
  } else if constexpr (Bits == 3) {
    // Bytes 0-7 and 4-11 of the 12: bit 48, where code 16 starts, is bit 80 of the register.
    const uint8x16_t packed = vcombine_u8(load_bytes_8(p), load_bytes_8(p + 4));
    return {spread<3, 0>(packed), spread<3, 80>(packed)};
  } else if constexpr (Bits == 4) {
    const uint8x16_t v = load_bytes_16(p);
    const uint8x16_t even = vandq_u8(v, vdupq_n_u8(15)), odd = vshrq_n_u8(v, 4);
    return {vzip1q_u8(even, odd), vzip2q_u8(even, odd)};
  } else if constexpr (Bits == 8) {
    return {load_bytes_16(p), load_bytes_16(p + 16)};
  } else {
    // The second register ends with the last byte; code 16 starts at byte 2 * Bits.
    constexpr int kSecond = 4 * Bits - 16;
    return {spread<Bits, 0>(load_bytes_16(p)),
            spread<Bits, 8 * (2 * Bits - kSecond)>(load_bytes_16(p + kSecond))};
  }
}

// Four scales or biases from any address, as float32.
inline float32x4_t widen_bf16(uint16x4_t v) {
  return vreinterpretq_f32_u32(vshll_n_u16(v, 16));
}
inline float32x4_t widen_f16(uint16x4_t v) {
  return vcvt_f32_f16(vreinterpret_f16_u16(v));
}

}  // namespace
}  // namespace qx
