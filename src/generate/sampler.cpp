// SPDX-License-Identifier: Apache-2.0
#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "kernels/api.h"

namespace qx {
namespace {

constexpr float kDropped = -std::numeric_limits<float>::infinity();

std::size_t first_maximum(std::span<const float> values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

void log_softmax(std::span<const float> logits, std::span<float> out) {
  QX_CHECK(!logits.empty() && logits.size() == out.size());
  const auto count = static_cast<std::int64_t>(logits.size());
  float max = 0;
  std::int64_t index = 0;
  kernels().max_index(logits.data(), count, &max, &index);
  const double sum = kernels().sum_exp(logits.data(), count, max);
  const double normalizer = static_cast<double>(max) + std::log(sum);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    out[i] = static_cast<float>(static_cast<double>(logits[i]) - normalizer);
  }
}

void keep_top_p(std::span<float> logprobs, double top_p, std::vector<float>& sorted) {
  sorted.assign(logprobs.begin(), logprobs.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double total = 0;
  for (const float v : sorted) total += std::exp(static_cast<double>(v));
  // A token stays while those above it hold less than top_p; the largest always does.
  float threshold = sorted.front();
  double above = 0;
  for (const float v : sorted) {
    if (above >= top_p * total) break;
    threshold = v;
    above += std::exp(static_cast<double>(v));
  }
  for (float& v : logprobs) v = v < threshold ? kDropped : v;
}

void keep_min_p(std::span<float> logprobs, double min_p) {
  const float threshold = logprobs[first_maximum(logprobs)] + static_cast<float>(std::log(min_p));
  for (float& v : logprobs) v = v < threshold ? kDropped : v;
}

void keep_top_k(std::span<float> logprobs, std::int64_t top_k, std::vector<float>& sorted) {
  const auto k = static_cast<std::size_t>(top_k);
  if (k >= logprobs.size()) return;
  sorted.assign(logprobs.begin(), logprobs.end());
  const auto kth = sorted.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
  const float threshold = *kth;
  auto ties = static_cast<std::ptrdiff_t>(k) -
              std::count_if(sorted.begin(), kth, [&](float v) { return v > threshold; });
  for (float& v : logprobs) {
    if (v > threshold) continue;
    if (v == threshold && ties-- > 0) continue;
    v = kDropped;
  }
}

TokenId Sampler::sample(std::span<const float> logprobs) {
  QX_CHECK(!logprobs.empty());
  if (options_.temperature == 0) return static_cast<TokenId>(first_maximum(logprobs));
  kept_.assign(logprobs.begin(), logprobs.end());
  if (options_.top_p > 0 && options_.top_p < 1) keep_top_p(kept_, options_.top_p, sorted_);
  if (options_.min_p > 0) keep_min_p(kept_, options_.min_p);
  if (options_.top_k > 0) keep_top_k(kept_, options_.top_k, sorted_);

  const std::size_t best = first_maximum(kept_);
  const auto weight = [&](float v) {
    const double gap = static_cast<double>(v) - static_cast<double>(kept_[best]);
    return std::exp(gap / options_.temperature);
  };
  double total = 0;
  for (const float v : kept_) total += weight(v);
  const double aim = random_.uniform() * total;
  double passed = 0;
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    passed += weight(kept_[i]);
    if (passed > aim) return static_cast<TokenId>(i);
  }
  return static_cast<TokenId>(best);
}

}  // namespace qx
