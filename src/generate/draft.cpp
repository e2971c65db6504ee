// SPDX-License-Identifier: Apache-2.0
#include "generate/draft.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace qx {
namespace {

constexpr std::int64_t kLongestAgreement = 16;
constexpr std::int64_t kLeastAgreement = 2, kMostAgreement = 8;  // asked of prompt lookup
constexpr std::int64_t kFirstLookup = 4;  // tokens of a draft before anything is known

std::int64_t size_of(std::span<const TokenId> tokens) {
  return static_cast<std::int64_t>(tokens.size());
}

// Tokens that the text's first `end` and all of it have in common at their ends, up to the most
// that count.
std::int64_t agreement(std::span<const TokenId> text, std::size_t end) {
  const std::size_t most = std::min<std::size_t>(end, kLongestAgreement);
  std::size_t n = 0;
  while (n < most && text[end - 1 - n] == text[text.size() - 1 - n]) ++n;
  return static_cast<std::int64_t>(n);
}

// False where the guess has led to where nothing can follow; the text itself may never come there.
bool masked(TokenConstraint& constraint, std::span<float> logits) {
  try {
    constraint.mask(logits);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::vector<TokenId> look_up_draft(std::span<const TokenId> text, std::int64_t least,
                                   std::int64_t most) {
  std::int64_t best = std::max<std::int64_t>(least, 1) - 1;
  std::size_t from = 0;
  for (std::size_t end = text.size(); end-- > 1 && best < kLongestAgreement;) {
    const std::int64_t n = agreement(text, end);
    if (n > best) {
      best = n;
      from = end;
    }
  }
  std::vector<TokenId> draft;
  if (from == 0) return draft;
  for (std::size_t i = from; static_cast<std::int64_t>(draft.size()) < most; ++i) {
    draft.push_back(i < text.size() ? text[i] : draft[i - text.size()]);
  }
  return draft;
}

void check_draft_tokenizer(const Tokenizer& tokenizer, const std::string& place,
                           const Tokenizer& draft, const std::string& draft_place) {
  const std::size_t shared = std::min(tokenizer.vocab_size(), draft.vocab_size());
  for (std::size_t i = 0; i < shared; ++i) {
    const auto id = static_cast<TokenId>(i);
    if (tokenizer.token_text(id) == draft.token_text(id) &&
        tokenizer.token_bytes(id) == draft.token_bytes(id)) {
      continue;
    }
    fail(draft_place,
         "got '{}' for token {}, expected '{}' as in {}; a draft model needs the tokenizer of the "
         "model that it drafts for",
         draft.token_text(id), id, tokenizer.token_text(id), place);
  }
  // A few added tokens more or less are a matter of versions; another vocabulary is none.
  const std::size_t larger = std::max(tokenizer.vocab_size(), draft.vocab_size());
  if (larger - shared > shared / 20) {
    fail(draft_place,
         "got a vocabulary of {} tokens, expected about the {} of {}; a draft model needs the "
         "tokenizer of the model that it drafts for",
         draft.vocab_size(), tokenizer.vocab_size(), place);
  }
}

Drafter::Drafter(const DrafterOptions& options)
    : options_(options), least_agreement_(kLeastAgreement) {
  QX_CHECK(options.lookup_tokens >= 0 && options.lookup_tokens <= kMostDrafts);
  lookup_now_ = std::min(kFirstLookup, options.lookup_tokens);
  if (options.model == nullptr) return;
  QX_CHECK(options.model_tokens >= 1 && options.model_tokens <= kMostDrafts);
  kept_.emplace(*options.model,
                std::min(options.context, options.model->config().max_position_embeddings));
}

bool Drafter::readable(std::span<const TokenId> tokens) const {
  return size_of(tokens) <= kept_->context() &&
         std::all_of(tokens.begin(), tokens.end(), [&](TokenId id) {
           return id >= 0 && id < options_.model->config().vocab_size;
         });
}

std::int64_t Drafter::unread(std::span<const TokenId> tokens) const {
  if (!kept_ || *options_.model_failed || !readable(tokens)) return 0;
  const auto known = kept_->tokens();
  const auto shared = std::mismatch(known.begin(), known.end(), tokens.begin(), tokens.end());
  return size_of(tokens) - (shared.second - tokens.begin());
}

// A text does not depend on its guesses, so it must not end with them either.
void Drafter::give_up_model(const Error& error) {
  kept_.reset();
  draft_.clear();
  if (options_.model_failed->exchange(true) || !options_.warn) return;
  options_.warn(error.what());
}

bool Drafter::model_ready() {
  if (kept_ && *options_.model_failed) kept_.reset();
  return kept_.has_value();
}

bool Drafter::read(std::span<const TokenId> tokens, std::int64_t most) {
  if (!model_ready() || !readable(tokens)) return true;
  const std::int64_t shared = kept_->keep_shared(tokens);
  const auto rest = tokens.subspan(static_cast<std::size_t>(shared));
  if (rest.empty()) return true;
  const auto piece = rest.first(static_cast<std::size_t>(std::min(most, size_of(rest))));
  try {
    kept_->append(piece, false);
  } catch (const Error& e) {
    give_up_model(e);
    return true;
  }
  return piece.size() == rest.size();
}

// Logits over the vocabulary of the model that is drafted for. Tokens that only one of the two has
// are padding, and no guess.
std::span<float> Drafter::guess_logits(const Hidden& hidden, std::int64_t vocab_size) {
  const std::int64_t own = options_.model->config().vocab_size;
  logits_.resize(static_cast<std::size_t>(std::max(own, vocab_size)));
  const std::span<float> all(logits_);
  options_.model->logits(hidden.row(0), all.first(static_cast<std::size_t>(own)));
  const std::span<float> out = all.first(static_cast<std::size_t>(vocab_size));
  if (own < vocab_size) {
    std::fill(out.begin() + own, out.end(), -std::numeric_limits<float>::infinity());
  }
  return out;
}

void Drafter::ask_model(const DraftRequest& r) {
  // The last token of a draft is not read before it is known to be right.
  const std::int64_t room = kept_->context() - size_of(r.history) + 1;
  const std::int64_t most = std::min({r.most, options_.model_tokens, room});
  if (most <= 0 || !readable(r.history)) return;
  Sampler sampler = r.sampler->ahead();
  std::optional<TokenConstraint> constraint;
  if (r.constraint != nullptr) constraint = *r.constraint;
  std::vector<TokenId> text(r.history.begin(), r.history.end());
  double probability = 1;
  const std::int64_t shared = kept_->keep_shared(r.history.first(r.history.size() - 1));
  Hidden hidden = kept_->append(r.history.subspan(static_cast<std::size_t>(shared)), true);
  for (;;) {
    const std::span<float> logprobs = guess_logits(hidden, r.vocab_size);
    if (constraint && !masked(*constraint, logprobs)) return;
    const TokenId id = sampler.choose(logprobs, text);
    probability *= std::exp(static_cast<double>(logprobs[static_cast<std::size_t>(id)]));
    if (!(probability >= options_.least_probability)) return;
    if (std::find(r.stop.begin(), r.stop.end(), id) != r.stop.end()) return;
    draft_.push_back(id);
    if (size_of(draft_) == most) return;
    if (constraint) {
      constraint->accept(id);
      if (constraint->finished()) return;
    }
    text.push_back(id);
    hidden = kept_->append({&id, 1}, true);
  }
}

std::span<const TokenId> Drafter::draft(const DraftRequest& request) {
  QX_CHECK(!request.history.empty() && request.sampler != nullptr);
  draft_.clear();
  looked_up_ = false;
  if (request.most <= 0) return draft_;
  if (options_.lookup_tokens > 0) {
    draft_ = look_up_draft(request.history, least_agreement_, std::min(lookup_now_, request.most));
    const auto known = [&](TokenId id) {
      return id >= 0 && id < request.vocab_size &&
             std::find(request.stop.begin(), request.stop.end(), id) == request.stop.end();
    };
    draft_.erase(std::find_if_not(draft_.begin(), draft_.end(), known), draft_.end());
    looked_up_ = !draft_.empty();
  }
  if (draft_.empty() && model_ready()) {
    try {
      ask_model(request);
    } catch (const Error& e) {
      give_up_model(e);
    }
  }
  return draft_;
}

void Drafter::judge(std::int64_t accepted) {
  if (!looked_up_) return;
  if (accepted == 0) {
    least_agreement_ = std::min(least_agreement_ + 1, kMostAgreement);
    lookup_now_ = 1;
  } else if (accepted == size_of(draft_)) {
    least_agreement_ = kLeastAgreement;
    lookup_now_ = std::min(2 * std::max(lookup_now_, accepted), options_.lookup_tokens);
  } else {
    lookup_now_ = std::min(accepted + 1, options_.lookup_tokens);
  }
}

}  // namespace qx
