// SPDX-License-Identifier: Apache-2.0
#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "kernels/api.h"

namespace qx {
namespace {

constexpr float kDropped = -std::numeric_limits<float>::infinity();

// Values that are summed together; a draw looks at one block's tokens alone.
constexpr std::size_t kDrawBlock = 1024;

std::size_t first_maximum(std::span<const float> values) {
  float max = 0;
  std::int64_t index = 0;
  kernels().max_index(values.data(), static_cast<std::int64_t>(values.size()), &max, &index);
  return static_cast<std::size_t>(index);
}

// Sum of exp(v - max), as the kernels sum it.
double sum_exp(std::span<const float> values, float max) {
  return kernels().sum_exp(values.data(), static_cast<std::int64_t>(values.size()), max);
}

// The negated form also refuses NaN.
void expect_in(std::string_view name, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    fail(name, "got {}, expected a number from {} to {}", value, low, high);
  }
}

void expect_tokens(std::string_view name, TokenId id, std::int64_t vocab_size) {
  if (id < 0 || id >= vocab_size) {
    fail(name, "got token {}, expected one of the model's, 0 to {}", id, vocab_size - 1);
  }
}

// The last `size` tokens of the history, or all of it for 0, as Python's tokens[-size:].
std::span<const TokenId> last_tokens(std::span<const TokenId> history, std::int64_t size) {
  const auto count = static_cast<std::uint64_t>(size);
  return size == 0 || count >= history.size() ? history : history.last(count);
}

// Each token once.
void distinct_tokens(std::span<const TokenId> tokens, std::vector<TokenId>& out) {
  out.assign(tokens.begin(), tokens.end());
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
}

// A finite logit stays finite, however it is changed: two infinities have no difference, and their
// softmax is NaN. What a constraint masks stays masked.
float changed_logit(float before, float after) {
  constexpr float kMost = std::numeric_limits<float>::max();
  return std::isfinite(before) ? std::clamp(after, -kMost, kMost) : before;
}

// The largest values are looked for this far below the maximum first, then deeper.
constexpr float kFirstDepth = 8;

float deeper(float depth) {
  return depth < 100 ? 2 * depth : std::numeric_limits<float>::infinity();
}

void take_largest(std::span<const float> values, float least, std::vector<float>& out) {
  out.clear();
  for (const float v : values) {
    if (v >= least) out.push_back(v);
  }
}

}  // namespace

void check_sampler_options(const SamplerOptions& o, std::int64_t vocab_size) {
  expect_in("temperature", o.temperature, 0, 1e6);
  expect_in("top_p", o.top_p, 0, 1);
  expect_in("min_p", o.min_p, 0, 1);
  expect_in("xtc_probability", o.xtc_probability, 0, 1);
  expect_in("xtc_threshold", o.xtc_threshold, 0, 0.5);
  // One that is nearly 0 says nothing but that logits overflow.
  if (o.repetition_penalty != 0) {
    expect_in("repetition_penalty", o.repetition_penalty, kLeastRepetitionPenalty, 1e6);
  }
  expect_in("presence_penalty", o.presence_penalty, -1e6, 1e6);
  expect_in("frequency_penalty", o.frequency_penalty, -1e6, 1e6);
  if (o.top_k < 0 || o.top_k >= vocab_size) {
    fail("top_k", "got {}, expected 0 or more, and less than the model's {} tokens", o.top_k,
         vocab_size);
  }
  const std::pair<std::string_view, std::int64_t> sizes[] = {
      {"repetition_context_size", o.repetition_context_size},
      {"presence_context_size", o.presence_context_size},
      {"frequency_context_size", o.frequency_context_size}};
  for (const auto& [name, size] : sizes) {
    if (size < 0) fail(name, "got {}, expected 0 (the whole text) or more tokens", size);
  }
  for (const TokenId id : o.xtc_special_tokens) expect_tokens("xtc_special_tokens", id, vocab_size);
  std::vector<TokenId> biased;
  for (const auto& [id, bias] : o.logit_bias) {
    expect_tokens("logit_bias", id, vocab_size);
    expect_in("logit_bias", bias, -1e6, 1e6);
    biased.push_back(id);
  }
  std::sort(biased.begin(), biased.end());
  const auto twice = std::adjacent_find(biased.begin(), biased.end());
  if (twice != biased.end()) fail("logit_bias", "got token {} twice, expected it once", *twice);
}

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
  const float max = logprobs[first_maximum(logprobs)];
  const auto weight = [&](float v) {
    return std::exp(static_cast<double>(v) - static_cast<double>(max));
  };
  const double aim = top_p * sum_exp(logprobs, max);
  // A token stays while those above it hold less than top_p; the largest always does. Sorting the
  // few largest is enough, mostly: more are taken until they hold enough.
  float threshold = max;
  for (float depth = kFirstDepth;; depth = deeper(depth)) {
    take_largest(logprobs, max - depth, sorted);
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    threshold = max;
    double above = 0;
    std::size_t i = 0;
    for (; i < sorted.size() && above < aim; ++i) {
      threshold = sorted[i];
      above += weight(sorted[i]);
    }
    // NaN is among no largest values, and an aim that is NaN is never reached.
    if (above >= aim || sorted.size() == logprobs.size() || std::isinf(depth)) break;
  }
  for (float& v : logprobs) v = v < threshold ? kDropped : v;
}

void keep_min_p(std::span<float> logprobs, double min_p) {
  const float threshold = logprobs[first_maximum(logprobs)] + static_cast<float>(std::log(min_p));
  for (float& v : logprobs) v = v < threshold ? kDropped : v;
}

void exclude_top_choices(std::span<float> logprobs, double threshold,
                         std::span<const TokenId> special) {
  const float max = logprobs[first_maximum(logprobs)];
  const auto weight = [&](float v) {
    return std::exp(static_cast<double>(v) - static_cast<double>(max));
  };
  double total = 0;
  for (const float v : logprobs) total += weight(v);
  float least = std::numeric_limits<float>::infinity();  // of those above the threshold
  for (const float v : logprobs) {
    if (v < least && weight(v) > threshold * total) least = v;
  }
  std::vector<float> saved;
  for (const TokenId id : special) saved.push_back(logprobs[static_cast<std::size_t>(id)]);
  for (float& v : logprobs) v = v > least ? kDropped : v;
  for (std::size_t i = 0; i < special.size(); ++i) {
    logprobs[static_cast<std::size_t>(special[i])] = saved[i];
  }
}

void keep_top_k(std::span<float> logprobs, std::int64_t top_k, std::vector<float>& sorted) {
  const auto k = static_cast<std::size_t>(top_k);
  if (k >= logprobs.size()) return;
  const float max = logprobs[first_maximum(logprobs)];
  for (float depth = kFirstDepth;; depth = deeper(depth)) {
    take_largest(logprobs, max - depth, sorted);
    if (sorted.size() >= k || std::isinf(depth)) break;
  }
  if (sorted.size() < k) return;  // the others are NaN
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

void Sampler::process(std::span<float> logits, std::span<const TokenId> history) {
  const auto at = [&](TokenId id) { return logits[static_cast<std::size_t>(id)]; };
  const auto set = [&](TokenId id, float value) {
    float& logit = logits[static_cast<std::size_t>(id)];
    logit = changed_logit(logit, value);
  };
  for (const auto& [id, bias] : options_.logit_bias) set(id, at(id) + static_cast<float>(bias));
  if (options_.repetition_penalty != 0) {
    distinct_tokens(last_tokens(history, options_.repetition_context_size), recent_);
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    for (const TokenId id : recent_) set(id, at(id) < 0 ? at(id) * penalty : at(id) / penalty);
  }
  if (options_.presence_penalty != 0) {
    distinct_tokens(last_tokens(history, options_.presence_context_size), recent_);
    const auto penalty = static_cast<float>(options_.presence_penalty);
    for (const TokenId id : recent_) set(id, at(id) - penalty);
  }
  if (options_.frequency_penalty != 0) {
    const auto penalty = static_cast<float>(options_.frequency_penalty);
    for (const TokenId id : last_tokens(history, options_.frequency_context_size)) {
      set(id, at(id) - penalty);
    }
  }
}

TokenId Sampler::choose(std::span<float> logits, std::span<const TokenId> history) {
  if (options_.changes_logits()) process(logits, history);
  log_softmax(logits, logits);
  return sample(logits);
}

void Sampler::filter(std::span<float> logprobs) {
  const SamplerOptions& o = options_;
  if (o.top_p > 0 && o.top_p < 1) keep_top_p(logprobs, o.top_p, sorted_);
  if (o.min_p > 0) keep_min_p(logprobs, o.min_p);
  if (o.xtc_probability > 0 && random_.uniform() < o.xtc_probability) {
    exclude_top_choices(logprobs, o.xtc_threshold, o.xtc_special_tokens);
  }
  if (o.top_k > 0) keep_top_k(logprobs, o.top_k, sorted_);
}

TokenId Sampler::sample(std::span<const float> logprobs) {
  QX_CHECK(!logprobs.empty());
  if (options_.temperature == 0) return static_cast<TokenId>(first_maximum(logprobs));
  kept_.assign(logprobs.begin(), logprobs.end());
  filter(kept_);
  return draw();
}

// A token with probability in proportion to exp(kept_ / temperature).
TokenId Sampler::draw() {
  const std::size_t best = first_maximum(kept_);
  const double max = static_cast<double>(kept_[best]);
  const double inverse = 1 / std::max(options_.temperature, 1e-30);
  for (float& v : kept_) {
    // What is a thousand below the best has no weight; more might not fit float32.
    v = static_cast<float>(std::max((static_cast<double>(v) - max) * inverse, -1000.0));
  }
  sums_.clear();
  double total = 0;
  for (std::size_t i = 0; i < kept_.size(); i += kDrawBlock) {
    const std::size_t size = std::min(kDrawBlock, kept_.size() - i);
    sums_.push_back(sum_exp(std::span(kept_).subspan(i, size), 0));
    total += sums_.back();
  }
  double left = random_.uniform() * total;
  std::size_t block = 0;
  for (; block < sums_.size() && sums_[block] <= left; ++block) left -= sums_[block];
  if (block == sums_.size()) return static_cast<TokenId>(best);
  std::size_t likeliest = best;
  double heaviest = 0;
  const std::size_t end = std::min(kept_.size(), (block + 1) * kDrawBlock);
  for (std::size_t i = block * kDrawBlock; i < end; ++i) {
    const double weight = std::exp(static_cast<double>(kept_[i]));
    left -= weight;
    if (left < 0) return static_cast<TokenId>(i);
    if (weight > heaviest) {
      heaviest = weight;
      likeliest = i;
    }
  }
  // The block's sum and that of its tokens one by one differ in the last bits.
  return static_cast<TokenId>(likeliest);
}

}  // namespace qx
