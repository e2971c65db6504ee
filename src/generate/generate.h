// The generation loop: prompt in, tokens out, one at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "generate/sampler.h"
#include "model/model.h"

namespace qx {

struct GenerateOptions {
  std::int64_t max_tokens = 100;
  SamplerOptions sampling = {};
  std::vector<TokenId> stop = {};  // any of these ends the text; not among the tokens
  std::int64_t top_logprobs = 0;   // how many of the most probable tokens to report a step; 0: none
  std::int64_t context = 0;        // prompt and generated tokens together; 0: the model's maximum
  bool report_logprobs = false;
  bool quiet = true;  // no progress while the prompt is read
};

struct StepLogprobs {
  TokenId id = 0;
  double logprob = 0;                           // of the model, before any sampling filter
  std::vector<std::pair<TokenId, double>> top;  // falling, the lower id first on a tie
};

enum class FinishReason { kStop, kLength };
std::string_view finish_reason_name(FinishReason reason);  // "stop", "length"

struct Generation {
  std::vector<TokenId> tokens;  // without the stop token
  std::vector<StepLogprobs> logprobs;
  FinishReason finish_reason = FinishReason::kLength;
  std::int64_t prompt_tokens = 0;
  double prompt_seconds = 0;          // until the first token was chosen
  double generation_seconds = 0;      // all later steps
  std::int64_t generation_steps = 0;  // steps in generation_seconds, the stop token's included
};

// Reads the prompt in pieces of kPromptPiece tokens, then one token a step. on_token is called for
// every token as it is chosen. Checks for an interrupt between steps.
// Fails: Error for an empty prompt, or one longer than the context.
constexpr std::int64_t kPromptPiece = 512;
Generation generate(Model& model, std::span<const TokenId> prompt, const GenerateOptions& options,
                    const std::function<void(TokenId)>& on_token);

// Largest resident memory of this process so far, in bytes.
std::int64_t peak_memory_bytes();

}  // namespace qx
