// Chooses the next token from logits, in the order of mlx-lm's sampler.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "text/tokenizer.h"

namespace qx {

struct SamplerOptions {
  double temperature = 0;  // 0: the most probable token, first index on a tie
  double top_p = 1;        // in effect for 0 < top_p < 1
  double min_p = 0;        // in [0, 1]; 0: off
  std::int64_t top_k = 0;  // 0: off
  std::uint64_t seed = 0;
};

// logits - logsumexp(logits). out may be the same memory.
void log_softmax(std::span<const float> logits, std::span<float> out);

// Filters work on log-probabilities before the temperature, one after the other and without
// renormalizing between them: top_p, min_p, top_k; then exp(logprob / temperature) are the weights.
// Where mlx-lm leaves ties at the top_k boundary open, the lower index stays.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}
  TokenId sample(std::span<const float> logprobs);

 private:
  SamplerOptions options_;
  Random random_;
  std::vector<float> kept_;  // filtered copy
  std::vector<float> sorted_;
};

// The filters on their own; a dropped token becomes -infinity.
void keep_top_p(std::span<float> logprobs, double top_p, std::vector<float>& sorted);
void keep_min_p(std::span<float> logprobs, double min_p);
void keep_top_k(std::span<float> logprobs, std::int64_t top_k, std::vector<float>& sorted);

}  // namespace qx
