// The windows of tokens that calibration and distillation read of a text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "distance/text_tokens.h"
#include "io/json.h"
#include "text/tokenizer.h"

namespace qx {

struct TextWindowsRequest {
  std::filesystem::path model;  // whose tokenizer and chat template
  std::filesystem::path text;
  TextFormat format = TextFormat::kByName;
  bool chat = false;           // plain texts become conversations
  std::int64_t windows = 128;  // at most, at even distances
  std::int64_t ctx = 512;      // tokens of a window
  double skip = 0, share = 1;  // parts of the text's tokens: those passed over, those used
};

struct TextWindows {
  std::vector<std::vector<TokenId>> windows;
  // {"file","sha256","tokens","first_token","last_token","chat"}
  Json json;
};

// Begins of `count` windows of ctx tokens within the text's tokens [first, last): whole windows
// side by side, of which `count` are taken at even distances. Fails: Error at `place` when not one
// fits.
std::vector<std::int64_t> choose_windows(std::int64_t first, std::int64_t last, std::int64_t ctx,
                                         std::int64_t count, const std::string& place);

// Whole windows within the part of the text. Each begins with BOS where the tokenizer adds one,
// unless the text is of conversations. Fails: Error (text too short, not UTF-8).
TextWindows read_text_windows(const TextWindowsRequest& request, const Tokenizer& tokenizer);

// Fails: Error at `place` for an id that is not in [0, vocab).
void require_known_tokens(const std::vector<TokenId>& window, std::int64_t vocab,
                          const std::string& place);

}  // namespace qx
