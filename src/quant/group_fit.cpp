// SPDX-License-Identifier: Apache-2.0
#include "quant/group_fit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/half.h"

namespace qx {
namespace {

constexpr int kMaxGroup = 128;
constexpr int kLanes = 8;      // partial sums, so that a compiler may vectorize without reordering
constexpr int kGridSteps = 6;  // positions of either end
constexpr float kGridStep = 0.06f;  // of the way from an end to the weighted mean
constexpr int kRounds = 2;

// Adding it makes a float of magnitude below 2^22 an integer, ties to even.
constexpr float kRoundingOffset = 12582912.0f;  // 1.5 * 2^23

float nearest_code(float x, float top) {
  x = x > 0.0f ? x : 0.0f;  // NaN becomes 0
  x = x < top ? x : top;
  return (x + kRoundingOffset) - kRoundingOffset;
}

float add_lanes(const float* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// What a group's fit needs, computed once.
struct Prepared {
  const float* w;
  const float* h;
  int n;
  float top;                     // largest code
  float centred[kMaxGroup];      // w - mean
  float weighted[kMaxGroup];     // h * centred
  float mean;                    // weighted
  double sum_h = 0, sum_hw = 0;  // of h, and of h * centred
};

// Sums over a group given its codes q: h q, h q q, h centred q.
struct Moments {
  double q, qq, wq;
};

// Codes for value = scale * code + low, where low is centred; and their moments.
Moments code_moments(const Prepared& p, float scale, float low) {
  float q1[kLanes] = {}, q2[kLanes] = {}, qw[kLanes] = {};
  const float inverse = 1.0f / scale;
  for (int i = 0; i < p.n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float q = nearest_code((p.centred[i + l] - low) * inverse, p.top);
      const float hq = p.h[i + l] * q;
      q1[l] += hq;
      q2[l] += hq * q;
      qw[l] += p.weighted[i + l] * q;
    }
  }
  return {static_cast<double>(add_lanes(q1)), static_cast<double>(add_lanes(q2)),
          static_cast<double>(add_lanes(qw))};
}

// Codes and error of a stored scale and bias.
float code_error(const Prepared& p, float scale, float bias, float* codes) {
  float sums[kLanes] = {};
  const float inverse = 1.0f / scale;
  for (int i = 0; i < p.n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float q = nearest_code((p.w[i + l] - bias) * inverse, p.top);
      const float e = p.w[i + l] - (scale * q + bias);
      codes[i + l] = q;
      sums[l] += p.h[i + l] * (e * e);
    }
  }
  return add_lanes(sums);
}

void prepare(Prepared& p) {
  double sum = 0;
  for (int i = 0; i < p.n; ++i) {
    p.sum_h += static_cast<double>(p.h[i]);
    sum += static_cast<double>(p.h[i]) * static_cast<double>(p.w[i]);
  }
  p.mean = p.sum_h > 0 ? static_cast<float>(sum / p.sum_h) : 0.0f;
  for (int i = 0; i < p.n; ++i) {
    p.centred[i] = p.w[i] - p.mean;
    p.weighted[i] = p.h[i] * p.centred[i];
    p.sum_hw += static_cast<double>(p.weighted[i]);
  }
}

bool is_usable(double scale) {
  return std::isfinite(scale) && std::fabs(scale) > 1e-30;
}

// From one pair of ends to a stored scale and bias; false when the group degenerates.
bool refine(const Prepared& p, float low, float high, DType dtype, float& scale, float& bias) {
  double s = (static_cast<double>(high) - static_cast<double>(low)) / static_cast<double>(p.top);
  double b = static_cast<double>(low);
  Moments m{};
  for (int round = 0; round < kRounds; ++round) {
    if (!is_usable(s)) return false;
    m = code_moments(p, static_cast<float>(s), static_cast<float>(b));
    const double det = p.sum_h * m.qq - m.q * m.q;
    if (!(det > 1e-7 * p.sum_h * m.qq)) return false;
    s = (p.sum_h * m.wq - m.q * p.sum_hw) / det;
    b = (p.sum_hw - s * m.q) / p.sum_h;
  }
  bias = round_to(dtype, static_cast<float>(b + static_cast<double>(p.mean)));
  const double rounded = static_cast<double>(bias) - static_cast<double>(p.mean);
  scale = round_to(dtype, static_cast<float>((m.wq - rounded * m.q) / m.qq));
  return std::isfinite(bias) && is_usable(static_cast<double>(scale));
}

Prepared prepared(const float* w, const float* importance, AffineSpec spec) {
  Prepared p{.w = w,
             .h = importance,
             .n = spec.group,
             .top = static_cast<float>((1 << spec.bits) - 1),
             .centred = {},
             .weighted = {},
             .mean = 0};
  prepare(p);
  return p;
}

// body(scale, bias) for every pair of ends on the grid that does not degenerate.
template <typename Body>
void for_each_pair(const Prepared& p, DType dtype, const Body& body) {
  if (!(p.sum_h > 0) || !std::isfinite(p.sum_h)) return;
  const float low = *std::min_element(p.centred, p.centred + p.n);
  const float high = *std::max_element(p.centred, p.centred + p.n);
  for (int i = 0; i < kGridSteps; ++i) {
    for (int j = 0; j < kGridSteps; ++j) {
      float scale = 0, bias = 0;
      if (refine(p, low * (1 - kGridStep * static_cast<float>(i)),
                 high * (1 - kGridStep * static_cast<float>(j)), dtype, scale, bias)) {
        body(scale, bias);
      }
    }
  }
}

float load_scale(DType dtype, const std::byte* bytes) {
  float value = 0;
  load_floats(dtype, bytes, 0, std::span<float>(&value, 1));
  return value;
}

// MLX's own code, which is defined on values of the type itself; w may be between them.
GroupCode mlx_code(const float* w, const float* importance, AffineSpec spec, DType dtype,
                   std::uint8_t* codes) {
  std::byte packed[kMaxGroup], scale_bytes[4], bias_bytes[4];
  if (encode_group(w, spec, dtype, packed, scale_bytes, bias_bytes)) {
    std::fill_n(codes, spec.group, std::uint8_t{0});
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    return {kNan, 0, kNan};
  }
  unpack_codes(packed, spec.group, spec.bits, codes);
  GroupCode out{load_scale(dtype, scale_bytes), load_scale(dtype, bias_bytes), 0};
  out.error = group_error(w, importance, spec.group, codes, out.scale, out.bias);
  return out;
}

}  // namespace

float round_to(DType dtype, float value) {
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(value));
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(value));
  return value;
}

void pack_codes(const std::uint8_t* codes, std::int64_t n, int bits, std::byte* out) {
  QX_CHECK(n % 8 == 0);
  for (std::int64_t i = 0; i < n; i += 8) {
    std::uint64_t word = 0;  // 8 codes are `bits` whole bytes
    for (int k = 0; k < 8; ++k) word |= std::uint64_t{codes[i + k]} << (k * bits);
    for (int byte = 0; byte < bits; ++byte) *out++ = static_cast<std::byte>(word >> (8 * byte));
  }
}

void unpack_codes(const std::byte* packed, std::int64_t n, int bits, std::uint8_t* codes) {
  QX_CHECK(n % 8 == 0);
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  for (std::int64_t i = 0; i < n; i += 8) {
    std::uint64_t word = 0;
    for (int byte = 0; byte < bits; ++byte) {
      word |= static_cast<std::uint64_t>(*packed++) << (8 * byte);
    }
    for (int k = 0; k < 8; ++k) codes[i + k] = static_cast<std::uint8_t>(word >> (k * bits) & mask);
  }
}

float group_error(const float* w, const float* importance, int n, const std::uint8_t* codes,
                  float scale, float bias) {
  float sums[kLanes] = {};
  for (int i = 0; i < n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float e = w[i + l] - (scale * static_cast<float>(codes[i + l]) + bias);
      sums[l] += importance[i + l] * (e * e);
    }
  }
  return add_lanes(sums);
}

GroupCode fit_group(const float* w, const float* importance, AffineSpec spec, DType dtype,
                    std::uint8_t* codes) {
  QX_CHECK(is_valid(spec));
  GroupCode best = mlx_code(w, importance, spec, dtype, codes);
  if (std::isnan(best.scale)) return best;
  const Prepared p = prepared(w, importance, spec);
  float trial[kMaxGroup], kept[kMaxGroup];
  bool improved = false;
  for_each_pair(p, dtype, [&](float scale, float bias) {
    const float error = code_error(p, scale, bias, trial);
    // Not finite only where MLX's code is not either, or squares overflow: then that stays.
    if (!(error < best.error)) return;
    best = {scale, bias, error};
    std::memcpy(kept, trial, sizeof(float) * static_cast<std::size_t>(p.n));
    improved = true;
  });
  if (improved) {
    for (int i = 0; i < p.n; ++i) codes[i] = static_cast<std::uint8_t>(kept[i]);
  }
  return best;
}

int fit_candidates(const float* w, const float* importance, AffineSpec spec, DType dtype, int most,
                   GroupCode* out) {
  QX_CHECK(is_valid(spec) && most > 0);
  std::uint8_t codes[kMaxGroup];
  out[0] = mlx_code(w, importance, spec, dtype, codes);
  if (std::isnan(out[0].scale)) return 1;
  int count = 1;
  const Prepared p = prepared(w, importance, spec);
  float trial[kMaxGroup];
  for_each_pair(p, dtype, [&](float scale, float bias) {
    for (int k = 0; k < count; ++k) {
      if (out[k].scale == scale && out[k].bias == bias) return;
    }
    const float error = code_error(p, scale, bias, trial);
    if (count == most && !(error < out[count - 1].error)) return;
    int at = count < most ? count++ : count - 1;
    for (; at > 0 && error < out[at - 1].error; --at) out[at] = out[at - 1];
    out[at] = {scale, bias, error};
  });
  return count;
}

}  // namespace qx
