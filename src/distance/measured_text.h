// A text made ready for measuring: its tokens, its windows, and what the output says about them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "distance/text_tokens.h"
#include "distance/windows.h"
#include "io/json.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx {

struct TextRequest {
  std::filesystem::path file;
  TextFormat format = TextFormat::kByName;
  bool chat = false;        // plain documents become conversations
  Json template_variables;  // null or an object
  WindowRules rules;
  std::uint32_t seed = 123;
};

struct MeasuredText {
  TextRequest request;
  std::string sha256;  // of the file
  std::vector<Document> documents;
  bool conversations = false;  // at least one document went through the template
  std::string template_hash;   // when conversations
  std::vector<TokenId> tokens;
  std::string tokens_sha256;
  std::vector<Window> windows;
  std::vector<std::int64_t> counts;  // targets of each window
  TokenId bos = 0;
  bool adds_bos = false;

  std::int64_t targets() const { return count_targets(windows); }
  std::int64_t longest_read() const;  // positions that one window takes in the model
};

// Fails: Error at the file or line.
MeasuredText load_text(const TextRequest& request, const Tokenizer& tokenizer,
                       const ChatTemplate* chat_template);

// Fails: Error at `place` unless this tokenizer has the same vocabulary and makes the same tokens of the
// text; chat_template: the one that made the tokens.
void require_same_tokens(const MeasuredText& text, const Tokenizer& own, const Tokenizer& other,
                         const ChatTemplate* chat_template, std::string_view place);

// {"file","sha256","documents","chat",..,"tokens","tokens_sha256"} and {"convention","ctx","stride",..}.
Json text_json(const MeasuredText& text);
Json windows_json(const MeasuredText& text);

}  // namespace qx
