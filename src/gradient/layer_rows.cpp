// SPDX-License-Identifier: Apache-2.0
#include "gradient/layer_rows.h"

#include <cmath>

namespace qx {

void rms_norm_gradient(const float* x, const float* weight, const float* dy, std::int64_t n,
                       float eps, float* dx) {
  double squares = 0, mean = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto value = static_cast<double>(x[i]);
    squares += value * value;
    mean += static_cast<double>(weight[i]) * static_cast<double>(dy[i]) * value;
  }
  const double count = static_cast<double>(n);
  const double r = 1.0 / std::sqrt(squares / count + static_cast<double>(eps));
  const auto along = static_cast<float>(r * r * r * mean / count);
  const auto scale = static_cast<float>(r);
  for (std::int64_t i = 0; i < n; ++i) dx[i] = scale * weight[i] * dy[i] - x[i] * along;
}

void swiglu_gradient(const float* gate, const float* up, const float* dy, std::int64_t n,
                     float* dgate, float* dup) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float g = gate[i], slope = dy[i], s = 1.0f / (1.0f + std::exp(-g));
    dup[i] = slope * g * s;
    dgate[i] = slope * up[i] * s * (1.0f + g * (1.0f - s));
  }
}

void rope_gradient(float* head, const float* cosine, const float* sine, std::int64_t n) {
  const std::int64_t half = n / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cosine[i] + b * sine[i];
    head[i + half] = b * cosine[i] - a * sine[i];
  }
}

}  // namespace qx
