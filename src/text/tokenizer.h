// BPE tokenizers as Hugging Face's tokenizer.json describes them: byte-level ones, and those of
// text pieces with bytes to fall back to, as SentencePiece models become.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_decoder.h"

namespace qx {

using TokenId = std::int32_t;

enum class SpecialTokens { kNone, kAdd };   // whether the post-processor adds its tokens (BOS, ..)
enum class DecodeSpecial { kKeep, kSkip };  // whether special tokens appear in decoded text

// Immutable after loading. Threads: const members may be called from any thread.
class Tokenizer {
 public:
  // Reads tokenizer.json and, when present, tokenizer_config.json and config files for bos and eos.
  // Fails: Error naming the file and the feature when a component is not supported.
  static Tokenizer load(const std::filesystem::path& model_directory);
  static Tokenizer from_json(std::string_view tokenizer_json,
                             std::string_view tokenizer_config_json, std::string_view origin);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Added and special tokens that occur in the text are recognized, as in Hugging Face. Invalid
  // UTF-8: each maximal ill-formed part becomes U+FFFD first (docs/tokenizer.md).
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const;
  // Bytes that are not UTF-8 become U+FFFD as in Hugging Face's ByteLevel decoder (lossy); of byte
  // tokens among text pieces, every byte of a run that is not UTF-8 as a whole, as in its
  // ByteFallback. Ids out of range are skipped.
  std::string decode(std::span<const TokenId> ids, DecodeSpecial special) const;

  std::size_t vocab_size() const;  // largest id + 1
  std::optional<TokenId> id_of(std::string_view token) const;
  std::string token_text(TokenId id) const;  // as in the vocabulary: byte-level alphabet, or pieces
  std::string token_bytes(
      TokenId id) const;  // the bytes that it stands for, but at a text's beginning
  bool is_special(TokenId id) const;
  std::optional<TokenId> bos_id() const;  // tokenizer_config.json's bos_token
  std::optional<TokenId> eos_id() const;
  std::string bos_token() const;  // "" when there is none
  std::string eos_token() const;
  // True when the post-processor puts BOS first in a single sequence.
  bool adds_bos() const;

 private:
  friend class StreamDetokenizer;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Text of a growing token sequence. Invariant: the concatenation of all that push() and finish()
// returned equals tokenizer.decode(all tokens). Holds back bytes that may still become one
// character, and among text pieces a run of byte tokens. The tokenizer must outlive it and keep its
// address.
class StreamDetokenizer {
 public:
  StreamDetokenizer(const Tokenizer& tokenizer, DecodeSpecial special);
  std::string push(TokenId id);
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  DecodeSpecial special_;
  std::string pending_;
  bool first_ = true;
  TokenDecoder::Stream pieces_;
};

}  // namespace qx
