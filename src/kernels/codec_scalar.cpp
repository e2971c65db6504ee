// The affine codec in plain C++: the specification that the vector versions equal bit for bit.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"
#include "kernels/codec.h"

namespace qx::codec_scalar {
namespace {

constexpr float kSmallestScale = 1e-7f;

// Half away from zero, as the GPU encoders round.
float round_away(float x) {
  const float whole = std::trunc(x);
  return std::fabs(x - whole) >= 0.5f ? whole + std::copysign(1.0f, x) : whole;
}

struct GroupParams {
  float scale = 0, bias = 0;
};

GroupParams fit_group(float low, float high, float levels, bool gpu) {
  float scale = (high - low) / levels;
  if (scale < kSmallestScale) scale = kSmallestScale;
  const bool low_is_edge = std::fabs(low) > std::fabs(high);
  if (!low_is_edge) scale = -scale;
  const float edge = low_is_edge ? low : high;
  const float steps = gpu ? round_away(edge / scale) : std::nearbyint(edge / scale);
  if (steps == 0.0f) return {scale, 0.0f};
  return {edge / steps, edge};
}

std::uint32_t encode_value(float value, GroupParams p, float levels, bool gpu) {
  const float steps = (value - p.bias) / p.scale;
  const float code = gpu ? round_away(steps) : std::nearbyint(steps);
  if (!(code > 0.0f)) return 0;  // NaN too: a constant group of huge values has scale 0
  return static_cast<std::uint32_t>(code < levels ? code : levels);
}

void store_scale(ScaleKind kind, float value, std::byte* out, std::int64_t index) {
  if (kind == ScaleKind::kF32) {
    std::memcpy(out + index * 4, &value, 4);
    return;
  }
  const std::uint16_t half = kind == ScaleKind::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
  std::memcpy(out + index * 2, &half, 2);
}

float load_f32(const std::byte* data, std::int64_t index) {
  float value;
  std::memcpy(&value, data + index * 4, 4);
  return value;
}

std::uint16_t load_u16(const std::byte* data, std::int64_t index) {
  std::uint16_t value;
  std::memcpy(&value, data + index * 2, 2);
  return value;
}

float load_scale(ScaleKind kind, const std::byte* data, std::int64_t index) {
  if (kind == ScaleKind::kF32) return load_f32(data, index);
  const std::uint16_t half = load_u16(data, index);
  return kind == ScaleKind::kBF16 ? bf16_to_f32(half) : f16_to_f32(half);
}

void decode_float_row(const WeightRows& w, std::int64_t first, std::int64_t n, float* out) {
  switch (w.kind) {
    case WeightKind::kF32:
      std::memcpy(out, w.values + first * 4, static_cast<std::size_t>(n) * 4);
      return;
    case WeightKind::kF16:
      for (std::int64_t i = 0; i < n; ++i) out[i] = f16_to_f32(load_u16(w.values, first + i));
      return;
    default:
      for (std::int64_t i = 0; i < n; ++i) out[i] = bf16_to_f32(load_u16(w.values, first + i));
  }
}

}  // namespace

bool affine_encode_row(const float* row, std::int64_t cols, int bits, int group, bool gpu_rounding,
                       ScaleKind type, std::byte* codes, std::byte* scales, std::byte* biases) {
  const auto levels = static_cast<float>((1 << bits) - 1);
  std::uint64_t stream = 0;
  int stream_bits = 0;
  for (std::int64_t g = 0; g < cols / group; ++g) {
    const float* values = row + g * group;
    float low = std::numeric_limits<float>::infinity();
    float high = gpu_rounding ? 0.0f : -low;
    for (int i = 0; i < group; ++i) {
      if (!std::isfinite(values[i])) return false;
      low = values[i] < low ? values[i] : low;
      high = values[i] > high ? values[i] : high;
    }
    const GroupParams p = fit_group(low, high, levels, gpu_rounding);
    store_scale(type, p.scale, scales, g);
    store_scale(type, p.bias, biases, g);
    for (int i = 0; i < group; ++i) {
      stream |= static_cast<std::uint64_t>(encode_value(values[i], p, levels, gpu_rounding))
                << stream_bits;
      for (stream_bits += bits; stream_bits >= 8; stream_bits -= 8, stream >>= 8) {
        *codes++ = static_cast<std::byte>(stream & 0xFF);
      }
    }
  }
  return true;
}

void decode_row(const WeightRows& w, std::int64_t row, std::int64_t begin, std::int64_t n,
                float* out) {
  if (w.kind != WeightKind::kAffine) {
    decode_float_row(w, row * w.cols + begin, n, out);
    return;
  }
  const std::byte* codes = w.values + row * (w.cols / 8 * w.bits);
  const std::int64_t first_group = row * (w.cols / w.group);
  const std::uint32_t mask = (1u << w.bits) - 1;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t bit = (begin + i) * w.bits;
    std::uint32_t window = std::to_integer<std::uint32_t>(codes[bit >> 3]);
    if ((bit & 7) + w.bits > 8) {
      window |= std::to_integer<std::uint32_t>(codes[(bit >> 3) + 1]) << 8;
    }
    const auto code = static_cast<float>((window >> (bit & 7)) & mask);
    const std::int64_t g = first_group + (begin + i) / w.group;
    out[i] = std::fma(load_scale(w.scale_kind, w.scales, g), code,
                      load_scale(w.scale_kind, w.biases, g));
  }
}

}  // namespace qx::codec_scalar
