// UTF-8, character classes and normal forms as the tokenizers of Hugging Face see them: Unicode 16 in
// regular expressions, Unicode 17 numbers in Digits, an old table in normalization (docs/tokenizer.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace qx {

// One step of reading UTF-8. An ill-formed step spans the maximal subpart (Unicode 3.9, "U+FFFD
// substitution of maximal subparts"), as in Rust's String::from_utf8_lossy.
struct Utf8Step {
  char32_t code_point;  // U+FFFD when ill-formed
  int length_bytes;     // >= 1
  bool valid;
  bool incomplete;  // ill-formed only because the text ends: more bytes could complete it
};
// Fails: InternalError when pos is not inside the text.
Utf8Step read_utf8(std::string_view text, std::size_t pos_bytes);

// Where the character before pos begins; pos > 0 and the text before it is valid UTF-8.
std::size_t previous_utf8(std::string_view text, std::size_t pos_bytes);

void append_utf8(std::string& out, char32_t code_point);
bool is_utf8(std::string_view text);
// Each maximal ill-formed part becomes U+FFFD.
std::string to_valid_utf8(std::string_view bytes);

// Appends to `text` what is decided of `pending`, ill-formed parts as U+FFFD, and leaves in `pending` the
// bytes that may still become one character (at most 3).
void drain_utf8(std::string& pending, std::string& text);

bool is_white_space(char32_t c);     // the property White_Space
bool is_word_character(char32_t c);  // \w of UTS 18, which single_word of added tokens uses
bool is_number(char32_t c);          // general categories Nd, Nl, No

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
// Text is valid UTF-8. Time: n log n for any text.
std::string normalize_utf8(std::string_view text, NormalForm form);

// Text of the same length in which code points that the regular expression library may classify
// differently from the reference are replaced by others of the same category and length. True when
// something was replaced; otherwise `out` is left alone and the text itself is right.
bool make_class_proxy(std::string_view text, std::string& out);

}  // namespace qx
