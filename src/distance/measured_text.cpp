// SPDX-License-Identifier: Apache-2.0
#include "distance/measured_text.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"

namespace qx {
namespace {

EncodeRules encode_rules(const TextRequest& request) {
  return {request.rules.convention, request.seed, request.template_variables};
}

}  // namespace

std::int64_t MeasuredText::longest_read() const {
  std::int64_t longest = 0;
  for (const Window& w : windows) longest = std::max(longest, w.end - 1 - w.begin);
  return longest;
}

MeasuredText load_text(const TextRequest& request, const Tokenizer& tokenizer,
                       const ChatTemplate* chat_template) {
  window_length(request.rules);  // a wrong command line first
  MeasuredText text;
  text.request = request;
  const bool strip = request.rules.convention == WindowConvention::kLlamaCpp;
  text.documents = read_documents(request.file, request.format, request.chat, strip);
  text.sha256 = sha256_file(request.file);
  text.conversations =
      std::any_of(text.documents.begin(), text.documents.end(),
                  [](const Document& document) { return !document.messages.is_null(); });
  text.tokens = encode_documents(text.documents, tokenizer, chat_template, encode_rules(request));
  if (text.conversations) text.template_hash = chat_template->hash();
  text.tokens_sha256 = hash_tokens(text.tokens);
  // A template writes the special tokens itself.
  text.adds_bos = tokenizer.adds_bos() && !text.conversations;
  text.bos = tokenizer.bos_id().value_or(0);
  text.windows = make_windows(request.rules, static_cast<std::int64_t>(text.tokens.size()),
                              text.adds_bos, request.file.string());
  for (const Window& w : text.windows) text.counts.push_back(w.end - w.first_target);
  return text;
}

void require_same_tokens(const MeasuredText& text, const Tokenizer& own, const Tokenizer& other,
                         const ChatTemplate* chat_template, std::string_view place) {
  if (const std::string got = hash_vocabulary(other), expected = hash_vocabulary(own);
      got != expected) {
    fail(place,
         "got a vocabulary of {} tokens with SHA-256 {}, expected the base's of {} with {}; "
         "distributions over different vocabularies have no divergence",
         other.vocab_size(), got.substr(0, 12), own.vocab_size(), expected.substr(0, 12));
  }
  const std::vector<TokenId> tokens =
      encode_documents(text.documents, other, chat_template, encode_rules(text.request));
  if (tokens == text.tokens) return;
  const auto at =
      std::mismatch(tokens.begin(), tokens.end(), text.tokens.begin(), text.tokens.end()).first -
      tokens.begin();
  fail(place,
       "got other tokens of the text than the base's tokenizer gives (first at token {}), expected "
       "the same; the tokenizers differ",
       at);
}

Json text_json(const MeasuredText& text) {
  Json json;
  json["file"] = text.request.file.string();
  json["sha256"] = text.sha256;
  json["documents"] = text.documents.size();
  json["chat"] = text.conversations;
  if (text.conversations) {
    json["chat_template_sha256"] = text.template_hash;
    json["template_variables"] = text.request.template_variables.is_null()
                                     ? Json::object()
                                     : text.request.template_variables;
  }
  if (text.request.rules.convention == WindowConvention::kMlxLm && text.documents.size() > 1) {
    json["seed"] = text.request.seed;
  }
  json["tokens"] = text.tokens.size();
  json["tokens_sha256"] = text.tokens_sha256;
  return json;
}

Json windows_json(const MeasuredText& text) {
  const WindowRules& rules = text.request.rules;
  Json json;
  json["convention"] = convention_name(rules.convention);
  json["ctx"] = rules.ctx;
  json["stride"] = effective_stride(rules);
  json["length"] = window_length(rules);
  json["windows"] = text.windows.size();
  json["bos"] = !text.windows.empty() && text.windows.front().bos;
  json["counted"] = describe_windows(rules, text.adds_bos);
  return json;
}

}  // namespace qx
