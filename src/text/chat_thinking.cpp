// Which vocabularies have thinking markers (has_thinking_tokens of chat_template.h).
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string_view>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx {

bool has_thinking_tokens(const Tokenizer& tokenizer) {
  const auto all = [&](std::initializer_list<std::string_view> tokens) {
    return std::all_of(tokens.begin(), tokens.end(),
                       [&](std::string_view token) { return tokenizer.id_of(token).has_value(); });
  };
  return all({"<think>", "</think>"}) || all({"<longcat_think>", "</longcat_think>"}) ||
         all({"<|think:start|>", "<|think:end|>"}) || all({"<|channel>", "<channel|>"}) ||
         all({"<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"});
}

}  // namespace qx
