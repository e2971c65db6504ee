// From (context, continuation) strings to token ids with the scored part marked, in either of the
// two conventions in use (docs/evaluation.md has the table). Does not run a model.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace qx {

// Where white space at the end of the context is scored: lm-eval moves it to the continuation,
// mlx-lm leaves it in the context.
enum class Convention { kLmEval, kMlxLm };

std::string_view convention_name(Convention convention);  // "lm-eval", "mlx-lm"
// Fails: Error at `place`.
Convention parse_convention(std::string_view name, std::string_view place);

// The model reads context + continuation without its last token, and predicts every continuation
// token. Both are non-empty unless `dropped`.
struct EncodedPair {
  std::vector<TokenId> context, continuation;
  std::int64_t cut_tokens = 0;  // taken from the left of the context to fit
  bool dropped = false;  // mlx-lm's rule: nothing of the context was left; scored as -infinity
};

struct PairRules {
  Convention convention = Convention::kLmEval;
  bool chat = false;            // the context is a rendered chat template
  std::int64_t max_length = 0;  // tokens that the model reads at most
};

// mlx-lm's limit when none is given.
constexpr std::int64_t kMlxLmMaxTokens = 8192;

// Threads: const members may be called from any thread. The tokenizer must outlive it.
class PairEncoder {
 public:
  PairEncoder(const Tokenizer& tokenizer, const PairRules& rules);

  // Continuations that share one context. place: for messages.
  // Fails: Error where the reference stops too: a context or continuation without any token, or
  // (lm-eval) a continuation longer than max_length.
  std::vector<EncodedPair> encode(std::string_view context,
                                  std::span<const std::string> continuations,
                                  std::string_view place) const;

  // Checks and cuts ids that were given as such, by lm-eval's rule.
  EncodedPair fit(std::vector<TokenId> context, std::vector<TokenId> continuation,
                  std::string_view place) const;

 private:
  std::vector<TokenId> tokenize(std::string_view text) const;
  std::vector<EncodedPair> encode_lm_eval(std::string_view context,
                                          std::span<const std::string> continuations,
                                          std::string_view place) const;
  std::vector<EncodedPair> encode_mlx_lm(std::string_view context,
                                         std::span<const std::string> continuations,
                                         std::string_view place) const;
  EncodedPair encode_without_context(std::string_view continuation, std::string_view place) const;

  const Tokenizer* tokenizer_;
  PairRules rules_;
  std::string prefix_text_;  // text of the BOS, else of the EOS token
};

}  // namespace qx
