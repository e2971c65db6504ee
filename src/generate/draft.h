// Speculative decoding (Leviathan, Kalman, Matias: "Fast inference from transformers via
// speculative decoding", arXiv 2211.17192): guesses of the tokens that a text goes on with, which
// the model then reads in one pass.
//
// The rule of acceptance here is simpler than theirs: the text's own sampler chooses every token
// from the model's own logits, as it does without drafts, and a guess is worth something where it
// is the token that was chosen. So a text is the same to the last bit with and without drafts, for
// every sampler, penalty, constraint and seed: a bad draft costs time and nothing else. What it
// costs against theirs is told in docs/speculative.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "generate/generate.h"

namespace qx {

constexpr std::int64_t kMostDrafts = 32;  // tokens of a draft

// Prompt lookup (Saxena, "Prompt lookup decoding", 2023): finds the place where the last tokens of
// the text came before and gives at most `most` tokens of what followed there. Of several places
// that with the longest agreement (of up to 16 tokens) counts, the latest on a tie; none with less
// than `least` tokens does. Where what followed runs into the end of the text, it goes on with
// itself, as a repetition does.
std::vector<TokenId> look_up_draft(std::span<const TokenId> text, std::int64_t least,
                                   std::int64_t most);

// Fails: Error with both places when some token of one tokenizer is not the same text in the other;
// a vocabulary may go on with tokens that the other lacks, as padded ones do.
void check_draft_tokenizer(const Tokenizer& tokenizer, const std::string& place,
                           const Tokenizer& draft, const std::string& draft_place);

struct DrafterOptions {
  Model* model = nullptr;          // that guesses; null: none
  std::int64_t model_tokens = 3;   // of its drafts, at most; 1 to kMostDrafts
  std::int64_t lookup_tokens = 0;  // of prompt lookup's, at most; 0: none. It goes first.
  // Of the texts. A model with a shorter one guesses until a text leaves it behind.
  std::int64_t context = 0;

  // A draft of the model ends before the token that makes it less probable than this as a whole, by
  // the model's own probabilities: what is likely to be wrong is not worth its rows.
  double least_probability = 0.3;

  // Told once why the model guesses no more, when it cannot: its weights hold NaN, say. Whatever is
  // drafted with these options, and with copies of them, goes on without it. Threads: any.
  std::function<void(const std::string& why)> warn = {};
  std::shared_ptr<std::atomic<bool>> model_failed = std::make_shared<std::atomic<bool>>(false);

  bool wanted() const { return model != nullptr || lookup_tokens > 0; }
};

// What a draft is made for.
struct DraftRequest {
  std::span<const TokenId> history;             // prompt and text so far; at least one token
  std::int64_t most = 0;                        // tokens that are of use
  std::int64_t vocab_size = 0;                  // of the model that is drafted for
  const Sampler* sampler = nullptr;             // as it will choose next
  const TokenConstraint* constraint = nullptr;  // where the text is in it; null: none
  std::span<const TokenId> stop = {};           // a draft ends before one of these
};

// Makes drafts for one text after another and keeps what its model has read of them. Drafts depend
// on the texts alone, neither on time nor on threads. Threads: one caller at a time, and not while
// the model is at work elsewhere.
class Drafter {
 public:
  explicit Drafter(const DrafterOptions& options);

  // Tokens of a text that the model has not read; 0 where it will not read them, or there is none.
  std::int64_t unread(std::span<const TokenId> tokens) const;
  // Lets the model read at most `most` tokens of a text; true when it has read all that it will.
  // Without it, draft() does so.
  bool read(std::span<const TokenId> tokens, std::int64_t most);

  // The guess: up to request.most tokens, or none where there is nothing to go by. The model's are
  // what the text's sampler would choose next from the model's logits, with the random numbers that
  // it will choose with: two models that agree choose alike at every temperature.
  std::span<const TokenId> draft(const DraftRequest& request);

  // How many tokens of the last draft were right: prompt lookup asks for more agreement after a
  // miss, and for longer drafts after a hit.
  void judge(std::int64_t accepted);

  const DrafterOptions& options() const { return options_; }

 private:
  bool model_ready();
  void give_up_model(const Error& error);
  void ask_model(const DraftRequest& request);
  std::span<float> guess_logits(const Hidden& hidden, std::int64_t vocab_size);
  bool readable(std::span<const TokenId> tokens) const;

  DrafterOptions options_;
  std::optional<KeptSequence> kept_;  // with a model
  std::vector<TokenId> draft_;
  std::vector<float> logits_;
  bool looked_up_ = false;            // where draft_ is from
  std::int64_t least_agreement_ = 0;  // of prompt lookup
  std::int64_t lookup_now_ = 0;       // tokens of its next draft, at most
};

}  // namespace qx
