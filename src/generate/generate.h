// The generation loop: prompt in, tokens out, one at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "constrain/token_constraint.h"
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
  // Says which tokens may come; the text ends, with kStop, where nothing may follow. Null: all.
  // Used up by one text.
  TokenConstraint* constraint = nullptr;
  // Called before each on_token with the log-probabilities that the token was chosen by:
  // [vocab_size], after penalties and bias, before the filters, as mlx-lm reports them. Valid
  // during the call.
  std::function<void(std::span<const float>)> on_logprobs = {};
  // Asked after each on_token: true ends the text there, with kStop (a stop string came).
  std::function<bool()> finished = {};
  // Asked before each forward pass: true ends the text with kCancelled.
  std::function<bool()> cancelled = {};
};

struct StepLogprobs {
  TokenId id = 0;
  double logprob = 0;  // after penalties and bias, before the filters: what mlx-lm reports
  std::vector<std::pair<TokenId, double>> top;  // falling, the lower id first on a tie
};

enum class FinishReason { kStop, kLength, kCancelled };
std::string_view finish_reason_name(FinishReason reason);  // "stop", "length", "cancelled"

struct Generation {
  std::vector<TokenId> tokens;  // without the stop token
  std::vector<StepLogprobs> logprobs;
  FinishReason finish_reason = FinishReason::kLength;
  std::int64_t prompt_tokens = 0;
  std::int64_t reused_tokens = 0;     // of the prompt: their keys and values were there already
  double prompt_seconds = 0;          // until the first token was chosen
  double generation_seconds = 0;      // all later steps
  std::int64_t generation_steps = 0;  // steps in generation_seconds, the stop token's included
};

// Keys and values that outlive one text: the next prompt computes only what follows the longest
// beginning that both share. Results are those of a fresh sequence (model/model.h).
class KeptSequence {
 public:
  // context: how many positions it can hold. The model must outlive it.
  KeptSequence(Model& model, std::int64_t context);

  std::span<const TokenId> tokens() const { return tokens_; }  // whose keys and values are there
  std::int64_t context() const { return context_; }
  // Forgets all positions behind the beginning shared with `tokens`; how many stay.
  std::int64_t keep_shared(std::span<const TokenId> tokens);
  // One forward pass over what follows. With want_output, the hidden state of the last token. An
  // exception leaves it as it was.
  Hidden append(std::span<const TokenId> tokens, bool want_output);

 private:
  Model* model_;
  std::int64_t context_;
  std::shared_ptr<KvSegment> segment_;
  std::vector<TokenId> tokens_;
};

// Reads the prompt in pieces of kPromptPiece tokens, then one token a step. on_token is called for
// every token as it is chosen. Checks for an interrupt between steps. Fails: Error for an empty
// prompt, or one longer than the context; Error when options.sampling is not as
// check_sampler_options() takes it.
constexpr std::int64_t kPromptPiece = 512;
Generation generate(Model& model, std::span<const TokenId> prompt, const GenerateOptions& options,
                    const std::function<void(TokenId)>& on_token);
// The same, going on from what `kept` holds; its context limits the text too. Afterwards it holds
// the prompt and what was generated but the last token, which nothing followed.
Generation generate(Model& model, KeptSequence& kept, std::span<const TokenId> prompt,
                    const GenerateOptions& options, const std::function<void(TokenId)>& on_token);

// Largest resident memory of this process so far, in bytes.
std::int64_t peak_memory_bytes();

}  // namespace qx
