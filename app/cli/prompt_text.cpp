// SPDX-License-Identifier: Apache-2.0
#include "prompt_text.h"

#include <iostream>
#include <iterator>
#include <string_view>

namespace qx::cli {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

std::string read_prompt(const std::string& option) {
  if (option == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::string prompt = option;
  replace_all(prompt, "\\n", "\n");
  replace_all(prompt, "\\t", "\t");
  return prompt;
}

std::vector<TokenId> encode_bare(const std::string& prompt, const Tokenizer& tokenizer) {
  const std::string bos = tokenizer.bos_token();
  const bool has_bos = !bos.empty() && prompt.starts_with(bos);
  return tokenizer.encode(prompt, has_bos ? SpecialTokens::kNone : SpecialTokens::kAdd);
}

}  // namespace qx::cli
