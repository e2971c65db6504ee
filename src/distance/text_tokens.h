// A text file as tokens: one document, or one a line of JSON, plain or through a chat template.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "distance/windows.h"
#include "io/json.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx {

enum class TextFormat { kByName, kText, kJsonl };  // kByName: .jsonl is JSON lines

// One document, either plain or a conversation.
struct Document {
  std::string place;  // "file", "file:line"
  std::string text;   // when messages is null
  Json messages;      // null, or what a chat template takes
  Json tools;         // null, or an array
};

// A plain text is one document (with chat: see below). A JSON line is {"messages": [..]} (and
// "tools"), {"prompt": "..", "completion": ".."}, or {"text": ".."}, as mlx-lm takes them.
// chat: plain texts become conversations too. Their paragraphs (between blank lines) in turn are a
// user's message and the assistant's answer, two paragraphs a conversation; one that is left at a
// document's end is a user's message without an answer.
// strip_newline: drops one line feed at the end of a plain text, as llama.cpp does with a file.
// Fails: Error naming file and line: not UTF-8, not JSON, none of those keys, nothing in it.
std::vector<Document> read_documents(const std::filesystem::path& file, TextFormat format,
                                     bool chat, bool strip_newline);
std::vector<Document> parse_documents(std::string_view text, const std::string& name,
                                      TextFormat format, bool chat, bool strip_newline);

// The order in which mlx_lm.perplexity takes n documents: numpy.random.seed(seed), then
// numpy.random.permutation(n), whose generator is MT19937 and whose bounded draw rejects masked words.
std::vector<std::int64_t> numpy_permutation(std::int64_t n, std::uint32_t seed);

struct EncodeRules {
  WindowConvention convention = WindowConvention::kLlamaCpp;
  std::uint32_t seed = 123;  // mlx-lm's order of documents
  Json template_variables;   // null or an object
};

// Documents one after the other. A plain one gets the special tokens that the tokenizer adds, and with
// mlx-lm's convention EOS behind it, unless it ends with it; a conversation is rendered without a
// generation prompt and encoded without further special tokens. With mlx-lm's convention the documents
// come in mlx-lm's order.
// chat_template may be null when no document has messages. Fails: Error at a document's place.
std::vector<TokenId> encode_documents(const std::vector<Document>& documents,
                                      const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                      const EncodeRules& rules);

// SHA-256 of the ids as little-endian 32-bit integers.
std::string hash_tokens(const std::vector<TokenId>& tokens);
// SHA-256 over the vocabulary: number, ids and texts of all tokens.
std::string hash_vocabulary(const Tokenizer& tokenizer);

// For a line of output: control and bidirectional formatting characters, line and paragraph
// separators, and backslashes escaped (\n, \t, \r, \\, \u{2028}).
std::string escape_controls(std::string_view utf8);

}  // namespace qx
