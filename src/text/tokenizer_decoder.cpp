// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_decoder.h"

#include "base/error.h"
#include "text/tokenizer_normalizer.h"
#include "text/tokenizer_split.h"
#include "text/unicode.h"

namespace qx {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

TokenDecoder::TokenDecoder(const Json& config, std::string_view origin) {
  const std::string place = fmt::format("{}: decoder", origin);
  parse(config, place, 0);
  if (strip_ > 0 && !fuse_) fail(place, "got Strip without Fuse before it, which is not supported");
}

void TokenDecoder::parse(const Json& config, const std::string& place, int depth) {
  if (!config.is_object()) fail(place, "got {}, expected an object", config.type_name());
  const std::string type = json_string(config, "type", place);
  const bool pieces = byte_fallback_ || !replacements_.empty();
  const bool none = !byte_level_ && !metaspace_ && !fuse_ && !pieces;
  if (type == "Sequence" && depth < 8) {
    const Json& list = json_member(config, "decoders");
    if (!list.is_array()) fail(place, "key 'decoders': expected an array");
    for (const Json& item : list) parse(item, place, depth + 1);
  } else if (type == "ByteLevel" && none) {
    byte_level_ = true;
  } else if (type == "Metaspace" && none) {
    metaspace_ = true;
    const MetaspaceRule rule = parse_metaspace(config, place);
    replacements_.emplace_back(rule.replacement, " ");
    drops_first_ = rule.prefix != MetaspaceRule::Prefix::kNever;
  } else if (type == "Replace" && !byte_level_ && !metaspace_ && !byte_fallback_ && !fuse_ &&
             replacements_.size() < 16) {
    replacements_.emplace_back(pattern_text(config, place), json_string(config, "content", place));
  } else if (type == "ByteFallback" && !byte_level_ && !metaspace_ && !byte_fallback_ && !fuse_) {
    byte_fallback_ = true;
  } else if (type == "Fuse" && !none) {
    fuse_ = true;
  } else if (type == "Strip" && fuse_ && !byte_level_ && strip_ == 0) {
    strip_text_ = json_string(config, "content", place);
    const std::int64_t start = json_int(config, "start", place);
    if (json_int(config, "stop", place) != 0) {
      fail(place, "Strip: got a stop other than 0, which is not supported");
    }
    if (start < 0 || strip_text_.empty()) fail(place, "Strip: got no start or no content");
    strip_ = static_cast<std::size_t>(start);
  } else {
    fail(place,
         "got '{}' here, which is not supported; expected ByteLevel, Metaspace, or a Sequence of "
         "Replace, ByteFallback, Fuse and Strip",
         type);
  }
}

std::optional<unsigned char> TokenDecoder::byte_of(std::string_view token) const {
  if (!byte_fallback_) return std::nullopt;
  const std::string text = piece(token, false);
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const int high = hex_value(text[3]), low = hex_value(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<unsigned char>(high * 16 + low);
}

std::string TokenDecoder::piece(std::string_view token, bool first) const {
  std::string text(token);
  for (const auto& [from, to] : replacements_) {
    // Metaspace drops every mark of the first token, not only the one in front.
    text = replace_text(text, from, first && first_differs() ? std::string_view() : to);
  }
  return text;
}

void TokenDecoder::Stream::push_piece(std::string_view piece, std::string& out) {
  std::string text;
  if (!run_.empty()) {
    if (is_utf8(run_)) {
      text = run_;
    } else {
      for (std::size_t i = 0; i < run_.size(); ++i) text += kReplacement;
    }
    run_.clear();
  }
  text += piece;
  std::string_view rest = text;
  while (to_strip_ > 0 && !rest.empty()) {
    if (rest.starts_with(decoder_->strip_text_)) {
      rest.remove_prefix(decoder_->strip_text_.size());
      --to_strip_;
    } else {
      to_strip_ = 0;
    }
  }
  out += rest;
}

}  // namespace qx
