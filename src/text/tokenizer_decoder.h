// Decoders of tokenizer.json: how the texts of tokens become a text. Two kinds: tokens that are
// bytes in GPT-2's alphabet (ByteLevel), and tokens that are pieces of text, as SentencePiece makes
// them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/json.h"

namespace qx {

// ByteLevel (with Fuse after it); or Replace.. ByteFallback Fuse Strip, each of them optional and
// in this order; or Metaspace. Threads: const is shared.
class TokenDecoder {
 public:
  TokenDecoder() = default;
  // Fails: Error "[origin: decoder] got '..'" naming what is not supported.
  TokenDecoder(const Json& config, std::string_view origin);

  bool byte_level() const { return byte_level_; }
  // For pieces: what a token's text stands for. `first`: nothing came before it.
  std::string piece(std::string_view token, bool first) const;
  // For pieces: the byte that a token such as <0x0A> stands for.
  std::optional<unsigned char> byte_of(std::string_view token) const;
  // Whether piece() makes a difference between the first token and others.
  bool first_differs() const { return metaspace_ && drops_first_; }

  // What happens to the whole of a text, as it comes.
  class Stream {
   public:
    explicit Stream(const TokenDecoder& decoder) : decoder_(&decoder), to_strip_(decoder.strip_) {}
    // Appends to `out` what is decided. A run of byte tokens is UTF-8 as a whole or not at all, and
    // waits for its end.
    void push_byte(unsigned char byte) { run_.push_back(static_cast<char>(byte)); }
    void push_piece(std::string_view piece, std::string& out);
    void finish(std::string& out) { push_piece({}, out); }

   private:
    const TokenDecoder* decoder_;
    std::string run_;
    std::size_t to_strip_;
  };

 private:
  void parse(const Json& config, const std::string& place, int depth);
  bool byte_level_ = false, metaspace_ = false, drops_first_ = false;
  bool byte_fallback_ = false, fuse_ = false;
  std::vector<std::pair<std::string, std::string>> replacements_;
  std::string strip_text_;  // one character
  std::size_t strip_ = 0;   // how many of it at the beginning at most
};

}  // namespace qx
