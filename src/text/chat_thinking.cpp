// Which vocabularies have thinking markers (thinking_markers of chat_template.h).
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string_view>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx {

// mlx_lm/tokenizer_utils.py, _infer_thinking.
std::optional<ThinkingMarkers> thinking_markers(const Tokenizer& tokenizer) {
  const auto all = [&](std::initializer_list<std::string_view> tokens) {
    return std::all_of(tokens.begin(), tokens.end(),
                       [&](std::string_view token) { return tokenizer.id_of(token).has_value(); });
  };
  constexpr std::array<std::array<const char*, 2>, 3> kSingleTokens = {
      {{"<think>", "</think>"},
       {"<longcat_think>", "</longcat_think>"},
       {"<|think:start|>", "<|think:end|>"}}};
  for (const auto& [open, close] : kSingleTokens) {
    if (all({open, close})) return ThinkingMarkers{open, close};
  }
  if (all({"<|channel>", "<channel|>"})) return ThinkingMarkers{"<|channel>thought", "<channel|>"};
  if (all({"<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"})) {
    return ThinkingMarkers{"<|open|>think<|sep|>", "<|close|>think<|sep|>"};
  }
  return std::nullopt;
}

bool has_thinking_tokens(const Tokenizer& tokenizer) {
  return thinking_markers(tokenizer).has_value();
}

}  // namespace qx
