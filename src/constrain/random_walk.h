// For tests: a made-up vocabulary, and texts that a constraint lets a careless sampler write.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "constrain/token_constraint.h"
#include "text/bpe.h"
#include "text/unicode.h"

namespace qx::random_walk {

// All bytes, a special token "<eos>", and pieces as they are found in real vocabularies, cut across
// what JSON keeps apart.
inline Tokenizer vocabulary() {
  Json vocab = Json::object();
  const auto add = [&](const std::string& bytes) {
    std::string text;
    for (const char c : bytes) append_utf8(text, byte_alphabet()[static_cast<unsigned char>(c)]);
    if (!vocab.contains(text)) vocab[text] = vocab.size();
  };
  for (int b = 0; b < 256; ++b) add(std::string(1, static_cast<char>(b)));
  for (const char* piece :
       {"{\"",   "\":",  "\": ",     "\",",      "\", \"", "\"}",    "\"]",      "}}",
        "]}",    "},",   "], [",     "[[",       "[{",     "{\n",    ",\n  ",    "\n ",
        "  ",    "true", "false",    "null",     "tr",     "nul",    "12",       "-1",
        "0.",    ".5",   "e-",       "00",       "\\u",    "\\\"",   "\\n",      "d8",
        "ab",    "abc",  "name",     "a\":",     "\"a",    "\"a\":", "{\"a\":1", ",\"a\":",
        "\":\"", "\xC3", "\x9F\x98", "\xF0\x9F", "é",      "日本",   "\"\"",     "{}",
        "[]",    "1,",   "]]",       " \"",      ": ",     ",\"",    "\",\"b\":"}) {
    add(piece);
  }
  const Json file = {
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"added_tokens",
       Json::array({{{"id", vocab.size()}, {"content", "<eos>"}, {"special", true}}})}};
  return Tokenizer::from_json(file.dump(), "{}", "test");
}

// Draws among the allowed tokens, more and more often among those that end things, until the text
// is complete and a coin or the constraint ends it. Nothing when max_tokens do not suffice.
inline std::optional<std::string> write(TokenConstraint constraint, const Tokenizer& tokenizer,
                                        Random& random, int max_tokens = 3000) {
  const std::size_t rows = tokenizer.vocab_size() + 3;
  const TokenId eos = *tokenizer.id_of("<eos>");
  std::string text;
  for (int step = 0; step < max_tokens; ++step) {
    std::vector<float> logits(rows, 0.0F);
    constraint.mask(logits);
    std::vector<TokenId> allowed, closing;
    for (std::size_t i = 0; i < rows; ++i) {
      if (std::isinf(logits[i])) continue;
      const auto id = static_cast<TokenId>(i);
      const std::string bytes = tokenizer.token_bytes(id);
      allowed.push_back(id);
      if (id == eos || bytes.find_first_not_of("\"]}0123456789") == std::string::npos) {
        closing.push_back(id);
      }
    }
    const bool close = !closing.empty() && random.below(200) < static_cast<std::uint64_t>(step);
    const std::vector<TokenId>& from = close ? closing : allowed;
    const TokenId id = from[random.below(from.size())];
    if (id == eos) {
      QX_CHECK(constraint.complete());
      return text;
    }
    constraint.accept(id);
    text += tokenizer.token_bytes(id);
    if (constraint.finished()) return text;
  }
  return std::nullopt;
}

}  // namespace qx::random_walk
