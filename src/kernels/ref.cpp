// SPDX-License-Identifier: Apache-2.0
#include "kernels/ref.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"

namespace qx {
namespace {

float read_float(ScaleKind kind, const std::byte* from, std::int64_t index) {
  if (kind == ScaleKind::kF32) {
    float value;
    std::memcpy(&value, from + 4 * index, 4);
    return value;
  }
  std::uint16_t half;
  std::memcpy(&half, from + 2 * index, 2);
  return kind == ScaleKind::kF16 ? f16_to_f32(half) : bf16_to_f32(half);
}

ScaleKind as_scale_kind(WeightKind kind) {
  if (kind == WeightKind::kF32) return ScaleKind::kF32;
  return kind == WeightKind::kF16 ? ScaleKind::kF16 : ScaleKind::kBF16;
}

int read_code(const std::byte* row, std::int64_t index, int bits) {
  int code = 0;
  for (int k = 0; k < bits; ++k) {
    const std::int64_t bit = index * bits + k;
    code |= ((std::to_integer<int>(row[bit / 8]) >> (bit % 8)) & 1) << k;
  }
  return code;
}

double exact(float x) {
  return static_cast<double>(x);
}

}  // namespace

RefSum ref_dot(const float* a, const float* b, std::int64_t n) {
  RefSum sum;
  for (std::int64_t i = 0; i < n; ++i) {
    const double product = exact(a[i]) * exact(b[i]);
    sum.value += product;
    sum.magnitude += std::abs(product);
  }
  return sum;
}

std::vector<float> ref_decode_row(const WeightRows& w, std::int64_t row) {
  std::vector<float> out(w.cols);
  for (std::int64_t c = 0; c < w.cols; ++c) {
    if (w.kind != WeightKind::kAffine) {
      out[c] = read_float(as_scale_kind(w.kind), w.values, row * w.cols + c);
      continue;
    }
    const std::int64_t group = row * (w.cols / w.group) + c / w.group;
    const float scale = read_float(w.scale_kind, w.scales, group);
    const float bias = read_float(w.scale_kind, w.biases, group);
    const int code = read_code(w.values + row * (w.cols / 8 * w.bits), c, w.bits);
    out[c] = std::fma(scale, static_cast<float>(code), bias);
  }
  return out;
}

RefSum ref_integer_product(const IntegerRows& x, std::int64_t m, const WeightRows& w,
                           std::int64_t n) {
  RefSum sum;
  const std::int8_t* codes = x.codes + m * x.row_bytes;
  for (std::int64_t g = 0; g < w.cols / w.group; ++g) {
    double dot = 0, total = 0;
    for (std::int64_t k = g * w.group; k < (g + 1) * w.group; ++k) {
      const double a = x.planes == 1 ? codes[k] : 256.0 * codes[k] + codes[plane_bytes(x.cols) + k];
      dot += a * read_code(w.values + n * (w.cols / 8 * w.bits), k, w.bits);
      total += a;
    }
    const std::int64_t at = n * (w.cols / w.group) + g;
    const double scaled = exact(read_float(w.scale_kind, w.scales, at)) * dot;
    const double shifted = exact(read_float(w.scale_kind, w.biases, at)) * total;
    const double d = exact(x.scales[m * x.groups_stride + g]);
    sum.value += d * (scaled + shifted);
    sum.magnitude += std::abs(d) * (std::abs(scaled) + std::abs(shifted));
  }
  const std::int32_t apart = x.apart_counts == nullptr ? 0 : x.apart_counts[m];
  for (std::int32_t i = 0; i < apart; ++i) {
    const ApartElement& e = x.apart[m * x.apart_stride + i];
    const std::int64_t at = n * (w.cols / w.group) + e.column / w.group;
    const double scaled = exact(read_float(w.scale_kind, w.scales, at)) *
                          read_code(w.values + n * (w.cols / 8 * w.bits), e.column, w.bits);
    const double bias = exact(read_float(w.scale_kind, w.biases, at));
    sum.value += exact(e.value) * (scaled + bias);
    sum.magnitude += std::abs(exact(e.value)) * (std::abs(scaled) + std::abs(bias));
  }
  return sum;
}

std::vector<double> ref_rms_norm(const float* x, const float* weight, std::int64_t n, float eps) {
  const double root = std::sqrt(ref_dot(x, x, n).value / static_cast<double>(n) + exact(eps));
  std::vector<double> out(n);
  for (std::int64_t i = 0; i < n; ++i) out[i] = exact(x[i]) / root * exact(weight[i]);
  return out;
}

std::vector<double> ref_rope(const float* head, const float* cosine, const float* sine,
                             std::int64_t n) {
  const std::int64_t half = n / 2;
  std::vector<double> out(n);
  for (std::int64_t i = 0; i < half; ++i) {
    const double a = exact(head[i]), b = exact(head[i + half]);
    const double c = exact(cosine[i]), s = exact(sine[i]);
    out[i] = a * c - b * s;
    out[i + half] = b * c + a * s;
  }
  return out;
}

std::vector<double> ref_swiglu(const float* gate, const float* up, std::int64_t n) {
  std::vector<double> out(n);
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = exact(gate[i]) / (1.0 + std::exp(-exact(gate[i]))) * exact(up[i]);
  }
  return out;
}

std::vector<double> ref_softmax(const float* scores, std::int64_t count, double* sum) {
  double max = -std::numeric_limits<double>::infinity();
  for (std::int64_t i = 0; i < count; ++i) max = std::max(max, exact(scores[i]));
  std::vector<double> out(count);
  *sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = std::exp(exact(scores[i]) - max);
    *sum += out[i];
  }
  return out;
}

std::vector<RefSum> ref_attention_values(const float* probabilities, const float* values,
                                         std::int64_t value_stride, std::int64_t count,
                                         std::int64_t head_dim, const float* out) {
  std::vector<RefSum> sums(head_dim);
  for (std::int64_t d = 0; d < head_dim; ++d) {
    sums[d] = {exact(out[d]), std::abs(exact(out[d]))};
    for (std::int64_t j = 0; j < count; ++j) {
      const double product = exact(probabilities[j]) * exact(values[j * value_stride + d]);
      sums[d].value += product;
      sums[d].magnitude += std::abs(product);
    }
  }
  return sums;
}

double ref_sum_exp(const float* logits, std::int64_t n, float max) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::exp(exact(logits[i]) - exact(max));
  return sum;
}

}  // namespace qx
