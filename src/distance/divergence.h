// How far the next-token distributions of some models are from those of a base model, over a text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "distance/base_states.h"
#include "distance/measured_text.h"
#include "distance/perplexity.h"
#include "io/json.h"
#include "model/model.h"

namespace qx {

struct TokenProbability {
  TokenId token = 0;
  double probability = 0;
};

// A position with a large divergence.
struct WorstPlace {
  std::int64_t target = 0;  // in the text's tokens
  std::size_t window = 0;
  double kl = 0, loss_base = 0, loss = 0;
  std::vector<TokenProbability> top_base, top;  // the five most probable tokens
};

// Of one variant; lists in the order of the targets.
struct Divergence {
  std::vector<double> kl;               // KL(base || variant), nats
  std::vector<double> loss_base, loss;  // -ln p of the target
  std::vector<std::uint8_t> same_top;   // whether the most probable token is the same
  std::vector<WorstPlace> worst;        // largest divergence first, of equal ones the earlier
};

struct DivergenceRules {
  std::int64_t pass_tokens = 1024;
  std::size_t worst = 20;
};

// The base's pass alone: its states go to the writer.
void store_base_states(Model& base, const MeasuredText& text, std::int64_t pass_tokens,
                       StatesWriter& writer, const OnTokens& on_tokens);

// All variants in one pass over the text. states: the base's, of which only the head is then used; null:
// base runs along. The bits of both ways are the same, for any number of threads and any pass_tokens.
// Fails: Error naming model and position when a logit is NaN or infinite. names: of the variants.
std::vector<Divergence> measure_divergence(Model& base, const BaseStates* states,
                                           std::span<Model* const> variants,
                                           std::span<const std::string> names,
                                           const MeasuredText& text, const DivergenceRules& rules,
                                           ThreadPool& pool, const OnTokens& on_tokens);

// The fields of one variant (docs/distances.md).
Json divergence_json(const Divergence& divergence, const MeasuredText& text,
                     const Tokenizer& tokenizer);

}  // namespace qx
