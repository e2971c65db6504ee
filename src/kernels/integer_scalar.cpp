// Integer activations and their products with affine weights in plain C++: the specification that
// the vector versions equal bit for bit.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/half.h"
#include "kernels/integer.h"

namespace qx::integer_scalar {
namespace {

constexpr std::uint32_t kInfinityBits = 0x7F800000u;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The largest |x| of a group as bits, whose order as integers puts infinity above all numbers and
// NaN above infinity.
std::uint32_t largest_bits(const float* x, int group) {
  std::uint32_t largest = 0;
  for (int i = 0; i < group; ++i) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFu);
  }
  return largest;
}

// The magnitude above which elements of a row are apart; NaN when one is NaN, so that none is above.
float limit_of_row(const float* x, std::int64_t groups, int group) {
  float s[4] = {};
  for (std::int64_t g = 0; g < groups; ++g) {
    s[g % 4] += std::bit_cast<float>(largest_bits(x + g * group, group));
  }
  return ((s[0] + s[2]) + (s[1] + s[3])) * (kApartRatio / static_cast<float>(groups));
}

float load_scale(ScaleKind kind, const std::byte* data, std::int64_t index) {
  if (kind == ScaleKind::kF32) {
    float value;
    std::memcpy(&value, data + index * 4, 4);
    return value;
  }
  std::uint16_t half;
  std::memcpy(&half, data + index * 2, 2);
  return kind == ScaleKind::kBF16 ? bf16_to_f32(half) : f16_to_f32(half);
}

// Code k of a row: bits [k * bits, (k + 1) * bits) of the row's little-endian bit stream.
int code_at(const std::byte* row, int bits, std::int64_t k) {
  const std::int64_t first = k * bits;
  const std::byte* p = row + first / 8;
  const int shift = static_cast<int>(first % 8);
  unsigned word = std::to_integer<unsigned>(p[0]);
  if (shift + bits > 8) word |= std::to_integer<unsigned>(p[1]) << 8;
  return static_cast<int>((word >> shift) & ((1u << bits) - 1u));
}

// Element k of a row of activations.
int activation_at(const IntegerRows& x, std::int64_t m, std::int64_t k) {
  const std::int8_t* row = x.codes + m * x.row_bytes;
  return x.planes == 1 ? row[k] : 256 * row[k] + row[plane_bytes(x.cols) + k];
}

}  // namespace

std::int32_t quantize_row(const float* x, std::int64_t cols, int group, int planes,
                          std::int8_t* codes, float* scales, float* sums, ApartElement* apart) {
  const float limit = planes == 2 ? kExactLimit : kFastLimit;
  const std::int64_t plane = plane_bytes(cols), groups = cols / group;
  std::fill_n(codes, planes * plane, std::int8_t{0});
  std::fill_n(scales, padded_groups(cols, group), 0.0f);
  std::fill_n(sums, padded_groups(cols, group), 0.0f);
  const float apart_above = planes == 2 ? limit_of_row(x, groups, group) : kInfinity;
  std::int32_t count = 0;
  std::vector<float> rest(static_cast<std::size_t>(group));
  for (std::int64_t g = 0; g < groups; ++g) {
    std::copy_n(x + g * group, group, rest.begin());
    const auto above = [&](float v) { return std::abs(v) > apart_above; };
    if (std::count_if(rest.begin(), rest.end(), above) <= kMostApart) {
      for (int i = 0; i < group; ++i) {
        if (!above(rest[i])) continue;
        apart[count++] = {static_cast<std::int32_t>(g * group + i), rest[i]};
        rest[i] = 0.0f;
      }
    }
    const std::uint32_t largest = largest_bits(rest.data(), group);
    if (largest >= kInfinityBits) {
      scales[g] = std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    const float max = std::bit_cast<float>(largest);
    if (max < kSmallestActivation) continue;
    scales[g] = max / limit;
    const float inverse = limit / max;
    int sum = 0;
    for (std::int64_t k = g * group; k < (g + 1) * group; ++k) {
      const int a = static_cast<int>(std::nearbyint(rest[k - g * group] * inverse));
      sum += a;
      // 256 * high + low with low in [-128, 127].
      const int high = planes == 2 ? (a + 128) >> 8 : a;
      codes[k] = static_cast<std::int8_t>(high);
      if (planes == 2) codes[plane + k] = static_cast<std::int8_t>(a - 256 * high);
    }
    sums[g] = static_cast<float>(sum);
  }
  return count;
}

void linear_integer(const IntegerRows& x, std::int64_t m_begin, std::int64_t m_end,
                    const WeightRows& w, std::int64_t n_begin, std::int64_t n_end, float* out,
                    std::int64_t out_stride, float*) {
  const std::int64_t groups = w.cols / w.group;
  for (std::int64_t m = m_begin; m < m_end; ++m) {
    const float* d = x.scales + m * x.groups_stride;
    const float* a = x.sums + m * x.groups_stride;
    for (std::int64_t n = n_begin; n < n_end; ++n) {
      const std::byte* row = w.values + n * (w.cols / 8 * w.bits);
      float p[4] = {};
      for (std::int64_t g = 0; g < groups; ++g) {
        std::int32_t dot = 0;
        for (std::int64_t k = g * w.group; k < (g + 1) * w.group; ++k) {
          dot += code_at(row, w.bits, k) * activation_at(x, m, k);
        }
        const float scale = load_scale(w.scale_kind, w.scales, n * groups + g);
        const float bias = load_scale(w.scale_kind, w.biases, n * groups + g);
        const float t = std::fma(scale, static_cast<float>(dot), bias * a[g]);
        p[g % 4] = std::fma(d[g], t, p[g % 4]);
      }
      float result = (p[0] + p[2]) + (p[1] + p[3]);
      const std::int32_t apart = x.apart_counts == nullptr ? 0 : x.apart_counts[m];
      if (apart > 0) {
        float q = 0;
        for (std::int32_t i = 0; i < apart; ++i) {
          const ApartElement& e = x.apart[m * x.apart_stride + i];
          const std::int64_t at = n * groups + e.column / w.group;
          const float weight = std::fma(load_scale(w.scale_kind, w.scales, at),
                                        static_cast<float>(code_at(row, w.bits, e.column)),
                                        load_scale(w.scale_kind, w.biases, at));
          q = std::fma(e.value, weight, q);
        }
        result += q;
      }
      out[(m - m_begin) * out_stride + (n - n_begin)] = result;
    }
  }
}

}  // namespace qx::integer_scalar
