// Template text to tokens, as Jinja2 does with trim_blocks and lstrip_blocks on (Hugging Face's setting):
// a newline behind a block goes, and so does white space before a block that stands first on its line.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qx::jinja {

enum class Token : std::uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,   // text: unescaped
  kInteger,  // text: digits, any base
  kFloat,
  kOperator,  // text: the operator
  kEnd,
};

struct Lexeme {
  Token token;
  std::string text;
  int line;
};

// The last lexeme is kEnd. Fails: Error with "origin:line" for text that is not Jinja, not UTF-8 or
// longer than kMaxSourceBytes.
std::vector<Lexeme> tokenize(std::string_view source, std::string_view origin);

constexpr std::size_t kMaxSourceBytes = std::size_t{4} << 20;

}  // namespace qx::jinja
