// Perplexity of a text under a model.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "distance/measured_text.h"
#include "distance/statistics.h"
#include "io/json.h"
#include "model/model.h"

namespace qx {

// Called with the number of tokens that have just gone through a model.
using OnTokens = std::function<void(std::int64_t)>;

// -ln p of each target, in the order of the windows, in double from float32 logits. The same for any
// number of threads and any pass_tokens. Fails: Error naming the position when a logit is NaN or infinite.
std::vector<double> target_losses(Model& model, const MeasuredText& text, ThreadPool& pool,
                                  std::int64_t pass_tokens, const OnTokens& on_tokens);

struct Perplexity {
  double ppl = 0;             // exp(mean loss)
  double stderr_tokens = 0;   // ppl times that of the mean loss: llama.cpp's and mlx-lm's
  double stderr_windows = 0;  // the same with only windows independent
  Estimate loss;              // nats a token
};
Perplexity perplexity_of(std::span<const double> losses, std::span<const std::int64_t> counts);

}  // namespace qx
