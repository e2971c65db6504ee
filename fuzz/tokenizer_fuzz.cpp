// Fuzzes tokenizer.json together with a text. The input is a tokenizer.json, a zero byte, and the text; without
// the former, the text meets a small tokenizer that covers all bytes, whose decoding must give it back.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "io/json.h"
#include "text/bpe.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace {

qx::Tokenizer small_tokenizer() {
  qx::Json vocab = qx::Json::object();
  for (std::size_t b = 0; b < 256; ++b) {
    std::string text;
    qx::append_utf8(text, qx::byte_alphabet()[b]);
    vocab[text] = b;
  }
  vocab["th"] = 256;
  vocab["the"] = 257;
  qx::Json json = qx::Json::parse(R"({
    "added_tokens": [{"id": 258, "content": "<|a|>", "special": true, "rstrip": true},
                     {"id": 259, "content": "<|a|>b", "single_word": true}],
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "behavior": "Isolated", "pattern": {"Regex":
       "(?i:'s|'t|'re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "merges": ["t h", "th e"]}})");
  json["model"]["vocab"] = vocab;
  return qx::Tokenizer::from_json(json.dump(), "", "small");
}

void check(const qx::Tokenizer& tokenizer, std::string_view text, bool all_bytes) {
  for (const qx::SpecialTokens special : {qx::SpecialTokens::kNone, qx::SpecialTokens::kAdd}) {
    const std::vector<qx::TokenId> ids = tokenizer.encode(text, special);
    for (const qx::TokenId id : ids) {
      QX_CHECK(id >= 0 && static_cast<std::size_t>(id) < tokenizer.vocab_size());
    }
    for (const qx::DecodeSpecial keep : {qx::DecodeSpecial::kKeep, qx::DecodeSpecial::kSkip}) {
      const std::string decoded = tokenizer.decode(ids, keep);
      QX_CHECK(qx::is_utf8(decoded));
      qx::StreamDetokenizer stream(tokenizer, keep);
      std::string streamed;
      for (const qx::TokenId id : ids) streamed += stream.push(id);
      QX_CHECK(streamed + stream.finish() == decoded);
      // rstrip of <|a|> drops spaces
      if (all_bytes && keep == qx::DecodeSpecial::kKeep && text.find("<|a|>") == text.npos) {
        QX_CHECK(decoded == qx::to_valid_utf8(text));
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const qx::Tokenizer kSmall = small_tokenizer();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = std::min(input.find('\0'), size);
  const std::string_view json = input.substr(0, zero);
  const std::string_view text = input.substr(std::min(zero + 1, size));
  try {
    if (json.empty()) {
      check(kSmall, text, true);
    } else {
      check(qx::Tokenizer::from_json(json, "", "fuzz"), text, false);
    }
  } catch (const qx::Error&) {
    QX_CHECK(!json.empty());
  }
  return 0;
}
