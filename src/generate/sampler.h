// Chooses the next token from logits, in the order of mlx-lm's logits processors and sampler
// (mlx_lm/sample_utils.py, make_logits_processors and make_sampler).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/random.h"
#include "text/tokenizer.h"

namespace qx {

constexpr double kLeastRepetitionPenalty = 1e-3;

struct SamplerOptions {
  double temperature = 0;  // 0: the most probable token, first index on a tie; no filter applies
  double top_p = 1;        // in effect for 0 < top_p < 1
  double min_p = 0;        // in [0, 1]; 0: off
  std::int64_t top_k = 0;  // 0: off; less than the vocabulary
  std::uint64_t seed = 0;

  // "Exclude top choices": with this probability, of all tokens above the threshold only the least
  // probable stays. Tokens below the threshold and those of xtc_special_tokens are never dropped.
  double xtc_probability = 0;                    // in [0, 1]; 0: off
  double xtc_threshold = 0.1;                    // in [0, 0.5]
  std::vector<TokenId> xtc_special_tokens = {};  // mlx-lm: the tokens of "\n" and the end of text

  // What the processors change before log-softmax, at every temperature.
  std::vector<std::pair<TokenId, double>> logit_bias = {};  // added; each token at most once
  // Of tokens among the last so many of the history (mlx-lm's 20; 0: the whole history):
  // Positive logits divided, negative ones multiplied; kLeastRepetitionPenalty or more; 0: off.
  double repetition_penalty = 0;
  double presence_penalty = 0;   // subtracted once from each token that occurs
  double frequency_penalty = 0;  // subtracted for each time that it occurs
  std::int64_t repetition_context_size = 20;
  std::int64_t presence_context_size = 20;
  std::int64_t frequency_context_size = 20;

  bool changes_logits() const {  // whether process() does anything, and history is looked at
    return !logit_bias.empty() || repetition_penalty != 0 || presence_penalty != 0 ||
           frequency_penalty != 0;
  }
};

// Fails: Error whose place is the option's name ("top_p", "logit_bias") when a value is out of its
// range (above), not finite, or names a token outside [0, vocab_size).
void check_sampler_options(const SamplerOptions& options, std::int64_t vocab_size);

// logits - logsumexp(logits). out may be the same memory. At least one logit is finite; others may
// be -infinity.
void log_softmax(std::span<const float> logits, std::span<float> out);

// One for each text that is made: it owns the random numbers. Options as check_sampler_options()
// takes them.
//
// Filters work on log-probabilities before the temperature, one after the other and without
// renormalizing between them (but XTC's threshold is of renormalized probabilities): top_p, min_p,
// XTC, top_k; then exp(logprob / temperature) are the weights. Where mlx-lm leaves ties at the top_k
// boundary open, the lower index stays.
class Sampler {
 public:
  explicit Sampler(SamplerOptions options) : options_(std::move(options)), random_(options_.seed) {}

  // All of it: process(), log_softmax in place, sample(). Afterwards `logits` holds the
  // log-probabilities that mlx-lm reports: after the processors, before the filters. A token whose
  // logit is -infinity (a constraint's mask) is never chosen.
  // history: prompt and generated tokens so far, oldest first, each in [0, logits.size()).
  TokenId choose(std::span<float> logits, std::span<const TokenId> history);

  // The steps on their own. process() leaves finite logits finite.
  void process(std::span<float> logits, std::span<const TokenId> history);
  TokenId sample(std::span<const float> logprobs);
  // The filters before a draw, as sample() applies them at a temperature above 0; XTC draws whether it
  // applies. What is left is not renormalized.
  void filter(std::span<float> logprobs);

  // One that will choose what this one would choose next: for guesses.
  Sampler ahead() const {
    Sampler other(options_);
    other.random_ = random_;
    return other;
  }

  const SamplerOptions& options() const { return options_; }

 private:
  TokenId draw();

  SamplerOptions options_;
  Random random_;
  std::vector<float> kept_;  // filtered copy
  std::vector<float> sorted_;
  std::vector<double> sums_;     // of the weights, block by block
  std::vector<TokenId> recent_;  // distinct tokens of a penalty's context
};

// The filters on their own; a dropped token becomes -infinity. They end for any values, NaN too.
void keep_top_p(std::span<float> logprobs, double top_p, std::vector<float>& sorted);
void keep_min_p(std::span<float> logprobs, double min_p);
void exclude_top_choices(std::span<float> logprobs, double threshold,
                         std::span<const TokenId> special);
void keep_top_k(std::span<float> logprobs, std::int64_t top_k, std::vector<float>& sorted);

}  // namespace qx
