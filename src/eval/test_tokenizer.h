// A small byte-level BPE tokenizer for tests: one token per byte, the merges "a b" and "Ġ a" (so "ab" and " a"
// are one token), and the special tokens <s> and </s>.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "io/json.h"
#include "text/tokenizer.h"

namespace qx {

// GPT-2's printable stand-ins: byte b as a character.
inline std::string byte_token(int byte) {
  const auto printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  int code = byte;
  if (!printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

struct TestTokenizerOptions {
  bool adds_bos = false, has_bos = true;
  std::vector<std::string> more_tokens = {};  // added to the vocabulary as special tokens
};

inline constexpr TokenId kAb = 256, kSpaceA = 257, kBos = 258, kEos = 259;

inline Tokenizer make_test_tokenizer(const TestTokenizerOptions& options = {}) {
  Json vocab = Json::object();
  for (int b = 0; b < 256; ++b) vocab[byte_token(b)] = b;
  const std::string space = byte_token(' ');
  vocab["ab"] = kAb;
  vocab[space + "a"] = kSpaceA;
  Json added = Json::array();
  const auto add_special = [&](const std::string& text, TokenId id) {
    Json token;
    token["id"] = id;
    token["content"] = text;
    for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"}) token[key] = false;
    token["special"] = true;
    added.push_back(token);
  };
  add_special("<s>", kBos);
  add_special("</s>", kEos);
  TokenId next = kEos;
  for (const std::string& text : options.more_tokens) add_special(text, ++next);

  Json json;
  json["version"] = "1.0";
  json["added_tokens"] = added;
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  json["post_processor"] = nullptr;
  if (options.adds_bos) {
    json["post_processor"] = parse_json(R"({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [258], "tokens": ["<s>"]}}})",
                                        "post_processor");
  }
  json["decoder"] = {{"type", "ByteLevel"}};
  json["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b", space + " a"}}};
  Json config;
  if (options.has_bos) config["bos_token"] = "<s>";
  config["eos_token"] = "</s>";
  return Tokenizer::from_json(json.dump(), config.dump(), "test tokenizer");
}

}  // namespace qx
