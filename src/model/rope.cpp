// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace qx {
namespace {

// Float32 power, rounded once: the double result is far closer than half a float32 step.
float power(float base, float exponent) {
  return static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
}

float llama3_frequency(const RopeConfig& c, float frequency) {
  const auto length = static_cast<double>(c.original_max_position_embeddings);
  const auto factor = static_cast<float>(c.factor);
  const auto low = static_cast<float>(c.low_freq_factor);
  const auto span = static_cast<float>(c.high_freq_factor - c.low_freq_factor);
  const auto low_wavelength = static_cast<float>(length / c.low_freq_factor);
  const auto high_wavelength = static_cast<float>(length / c.high_freq_factor);
  const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / frequency;
  if (wavelength > low_wavelength) return frequency / factor;
  if (wavelength < high_wavelength) return frequency;
  const float smooth = (static_cast<float>(length) / wavelength - low) / span;
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

std::vector<float> rope_inverse_frequencies(const RopeConfig& config, std::int64_t head_dim) {
  std::vector<float> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    float frequency = 1.0f / power(static_cast<float>(config.theta), exponent);
    if (config.type == RopeConfig::Type::kLinear) frequency /= static_cast<float>(config.factor);
    if (config.type == RopeConfig::Type::kLlama3) frequency = llama3_frequency(config, frequency);
    frequencies[i] = frequency;
  }
  return frequencies;
}

RopeTable::RopeTable(const RopeConfig& config, std::int64_t head_dim)
    : half_(head_dim / 2), frequencies_(rope_inverse_frequencies(config, head_dim)) {}

void RopeTable::reserve(std::int64_t positions) {
  if (positions <= filled_) return;
  const std::int64_t target = std::max(positions, filled_ + filled_ / 2);
  cosine_.resize(static_cast<std::size_t>(target * half_));
  sine_.resize(cosine_.size());
  for (std::int64_t p = filled_; p < target; ++p) {
    for (std::int64_t i = 0; i < half_; ++i) {
      const float angle = static_cast<float>(p) * frequencies_[static_cast<std::size_t>(i)];
      const auto at = static_cast<std::size_t>(p * half_ + i);
      cosine_[at] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sine_[at] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  filled_ = target;
}

}  // namespace qx
