// Pair encoding as lm-eval and as mlx-lm do it.
// SPDX-License-Identifier: Apache-2.0
#include "eval/pair_encoding.h"

#include <algorithm>

#include "base/error.h"
#include "tasks/python_text.h"

namespace qx {
namespace {

// whole[begin:] as Python slices: empty when begin is past the end.
std::vector<TokenId> tail(const std::vector<TokenId>& whole, std::size_t begin) {
  return {whole.begin() + static_cast<std::ptrdiff_t>(std::min(begin, whole.size())), whole.end()};
}

void drop_front(std::vector<TokenId>& tokens, std::int64_t count) {
  tokens.erase(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace

std::string_view convention_name(Convention convention) {
  return convention == Convention::kLmEval ? "lm-eval" : "mlx-lm";
}

Convention parse_convention(std::string_view name, std::string_view place) {
  if (name == "lm-eval") return Convention::kLmEval;
  if (name == "mlx-lm") return Convention::kMlxLm;
  fail(place, "got the convention '{}', expected lm-eval or mlx-lm", name);
}

PairEncoder::PairEncoder(const Tokenizer& tokenizer, const PairRules& rules)
    : tokenizer_(&tokenizer), rules_(rules) {
  QX_CHECK(rules.max_length > 0);
  if (rules.convention == Convention::kMlxLm) {
    rules_.max_length = std::min(rules_.max_length, kMlxLmMaxTokens);
  }
  prefix_text_ = tokenizer.bos_id() ? tokenizer.bos_token() : tokenizer.eos_token();
}

std::vector<TokenId> PairEncoder::tokenize(std::string_view text) const {
  if (rules_.convention == Convention::kMlxLm) {
    return tokenizer_->encode(text, rules_.chat ? SpecialTokens::kNone : SpecialTokens::kAdd);
  }
  const bool has_prefix = !prefix_text_.empty() && text.starts_with(prefix_text_);
  return tokenizer_->encode(text, has_prefix ? SpecialTokens::kNone : SpecialTokens::kAdd);
}

EncodedPair PairEncoder::fit(std::vector<TokenId> context, std::vector<TokenId> continuation,
                             std::string_view place) const {
  if (context.empty()) fail(place, "got a context without tokens, expected at least one");
  if (continuation.empty()) fail(place, "got a continuation without tokens, expected at least one");
  const auto scored = static_cast<std::int64_t>(continuation.size());
  if (scored > rules_.max_length) {
    fail(place,
         "got a continuation of {} tokens, expected at most {}, the context length of the model",
         scored, rules_.max_length);
  }
  EncodedPair pair{std::move(context), std::move(continuation)};
  const std::int64_t total = static_cast<std::int64_t>(pair.context.size()) + scored;
  pair.cut_tokens = std::max<std::int64_t>(0, total - (rules_.max_length + 1));
  drop_front(pair.context, pair.cut_tokens);
  return pair;
}

EncodedPair PairEncoder::encode_without_context(std::string_view continuation,
                                                std::string_view place) const {
  const std::optional<TokenId> prefix =
      tokenizer_->bos_id() ? tokenizer_->bos_id() : tokenizer_->eos_id();
  std::vector<TokenId> scored = tokenizer_->encode(continuation, SpecialTokens::kNone);
  if (scored.empty()) fail(place, "got a continuation without tokens, expected at least one");
  if (!prefix) {
    fail(place,
         "got an empty context, and the tokenizer has no BOS or EOS token to put in its place");
  }
  if (scored.front() != *prefix) return fit({*prefix}, std::move(scored), place);
  return fit({*prefix}, tail(scored, 1), place);
}

std::vector<EncodedPair> PairEncoder::encode_lm_eval(std::string_view context,
                                                     std::span<const std::string> continuations,
                                                     std::string_view place) const {
  const std::string_view stripped = python_rstrip(context);
  const std::vector<TokenId> context_ids =
      context.empty() ? std::vector<TokenId>{} : tokenize(stripped);
  std::vector<EncodedPair> pairs;
  for (const std::string& continuation : continuations) {
    if (context.empty()) {
      pairs.push_back(encode_without_context(continuation, place));
      continue;
    }
    const std::vector<TokenId> whole = tokenize(std::string(context) + continuation);
    // Whether context_ids is a prefix of whole is not asked: the model reads context_ids, then the
    // rest.
    pairs.push_back(fit(context_ids, tail(whole, context_ids.size()), place));
  }
  return pairs;
}

std::vector<EncodedPair> PairEncoder::encode_mlx_lm(std::string_view context,
                                                    std::span<const std::string> continuations,
                                                    std::string_view place) const {
  const std::vector<TokenId> prefix = tokenize(context);
  std::vector<EncodedPair> pairs;
  std::int64_t longest = 0;
  for (const std::string& continuation : continuations) {
    const std::vector<TokenId> whole = tokenize(std::string(context) + continuation);
    longest = std::max(longest, static_cast<std::int64_t>(whole.size()));
    EncodedPair pair{prefix, tail(whole, prefix.size())};
    if (pair.continuation.empty()) {
      fail(place, "got a continuation without tokens, expected at least one");
    }
    pairs.push_back(std::move(pair));
  }
  // One cut for all choices, from the longest of them.
  const std::int64_t cut = std::max<std::int64_t>(0, longest - rules_.max_length - 1);
  const auto context_tokens = static_cast<std::int64_t>(prefix.size());
  for (EncodedPair& pair : pairs) {
    pair.cut_tokens = std::min(cut, context_tokens);
    pair.dropped = context_tokens <= cut;
    drop_front(pair.context, pair.cut_tokens);
  }
  return pairs;
}

std::vector<EncodedPair> PairEncoder::encode(std::string_view context,
                                             std::span<const std::string> continuations,
                                             std::string_view place) const {
  return rules_.convention == Convention::kLmEval ? encode_lm_eval(context, continuations, place)
                                                  : encode_mlx_lm(context, continuations, place);
}

}  // namespace qx
