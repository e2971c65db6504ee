// Decoders of keys and values of 8 and 4 bits, written once over 16-lane vectors; included behind
// linear_inl.h, with the same rules. The including file also defines
//   load_codes(p)                16 bytes as float32
//   load_nibbles(p, low, high)   their low and their high halves
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear_inl.h"

namespace qx {
namespace {

inline V16 load_scales(const std::uint16_t* p) {
  return load_bf16(reinterpret_cast<const std::byte*>(p));
}
inline float widen_scale(std::uint16_t h) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(h) << 16);
}

inline const std::uint8_t* decode_key_rows_8(const std::uint8_t* codes, std::int64_t rows,
                                             V16 scale, V16 bias, float* out) {
  for (std::int64_t d = 0; d < rows; ++d) {
    const V16 code = load_codes(codes);
    store(out + d * kLanes, fma(scale, code, bias));
    codes += kLanes;
  }
  return codes;
}

inline const std::uint8_t* decode_key_rows_4(const std::uint8_t* codes, std::int64_t rows,
                                             V16 scale, V16 bias, float* out) {
  for (std::int64_t d = 0; d < rows; d += 2) {
    V16 low, high;
    load_nibbles(codes, &low, &high);
    store(out + d * kLanes, fma(scale, low, bias));
    if (d + 1 < rows) store(out + (d + 1) * kLanes, fma(scale, high, bias));
    codes += kLanes;
  }
  return codes;
}

inline void decode_keys(const std::uint8_t* codes, const std::uint16_t* scales, int bits,
                        std::int64_t blocks, std::int64_t head_dim, std::int64_t group,
                        float* out) {
  for (std::int64_t b = 0; b < blocks; ++b) {
    for (std::int64_t d = 0; d < head_dim; d += group) {
      const std::int64_t rows = head_dim - d < group ? head_dim - d : group;
      const V16 scale = load_scales(scales), bias = load_scales(scales + kLanes);
      codes = bits == 8 ? decode_key_rows_8(codes, rows, scale, bias, out)
                        : decode_key_rows_4(codes, rows, scale, bias, out);
      out += rows * kLanes;
      scales += 2 * kLanes;
    }
  }
}

inline const std::uint8_t* decode_value_group_8(const std::uint8_t* codes, std::int64_t n,
                                                float scale, float bias, float* out) {
  const V16 scales = splat(scale), biases = splat(bias);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const V16 code = load_codes(codes + i);
    store(out + i, fma(scales, code, biases));
  }
  for (; i < n; ++i) out[i] = __builtin_fmaf(scale, static_cast<float>(codes[i]), bias);
  return codes + n;
}

inline const std::uint8_t* decode_value_group_4(const std::uint8_t* codes, std::int64_t n,
                                                float scale, float bias, float* out) {
  const V16 scales = splat(scale), biases = splat(bias);
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    V16 low, high;
    load_nibbles(codes, &low, &high);
    store(out + i, fma(scales, low, biases));
    store(out + i + kLanes, fma(scales, high, biases));
    codes += kLanes;
  }
  const std::int64_t rest = n - i, half = (rest + 1) / 2;
  for (std::int64_t l = 0; l < rest; ++l) {
    const int code = l < half ? codes[l] & 15 : codes[l - half] >> 4;
    out[i + l] = __builtin_fmaf(scale, static_cast<float>(code), bias);
  }
  return codes + half;
}

inline void decode_values(const std::uint8_t* codes, const std::uint16_t* scales, int bits,
                          std::int64_t count, std::int64_t head_dim, std::int64_t group,
                          float* out) {
  for (std::int64_t j = 0; j < count; ++j) {
    for (std::int64_t d = 0; d < head_dim; d += group) {
      const std::int64_t n = head_dim - d < group ? head_dim - d : group;
      const float scale = widen_scale(scales[0]), bias = widen_scale(scales[1]);
      codes = bits == 8 ? decode_value_group_8(codes, n, scale, bias, out)
                        : decode_value_group_4(codes, n, scale, bias, out);
      out += n;
      scales += 2;
    }
  }
}

}  // namespace
}  // namespace qx
