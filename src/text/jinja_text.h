// Python's view of text for the template engine: strings are UTF-8 here but count, slice, compare
// and change case by code points as Python's str does. Not a tokenizer and not a normalizer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qx::jinja {

bool valid_utf8(std::string_view text);
// Each maximal ill-formed part becomes U+FFFD (Unicode 15, table 3-7).
std::string to_valid_utf8(std::string_view text);

// All that follows expects valid UTF-8.

// The code point at byte `pos`, which moves behind it. pos must be below text.size().
char32_t next_point(std::string_view text, std::size_t& pos);
// The code point that ends at byte `pos`, which moves before it. pos must be above 0.
char32_t previous_point(std::string_view text, std::size_t& pos);
void append_point(std::string& out, char32_t point);
std::size_t count_points(std::string_view text);
// Byte offset of the code point with that number, or text.size().
std::size_t byte_offset(std::string_view text, std::size_t points);
std::u32string to_points(std::string_view text);
std::string from_points(std::u32string_view points);

// First place of needle in text at or after byte `from`, or npos. Linear time whatever the texts.
std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from);
std::size_t rfind_text(std::string_view text, std::string_view needle);

// Character classes as Python's str methods define them.
bool is_space(char32_t c);
bool is_printable(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_title(char32_t c);
bool is_cased(char32_t c);
bool is_name_start(char32_t c);
bool is_name_part(char32_t c);

// Full case mapping, one code point to up to three (jinja_casing.cpp).
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string title(std::string_view text);
std::string capitalize(std::string_view text);
std::string swapcase(std::string_view text);
std::string casefold(std::string_view text);

enum class Side { kLeft, kRight, kBoth };
// Strips white space, or the code points of `chars` when given.
std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> chars);

// As str.splitlines(): views into text.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

// As repr() of a str and of a float.
std::string quote(std::string_view text);
std::string float_repr(double value);
// As float(text): nothing when it is no number. Accepts inf, nan, surrounding space and
// underscores.
std::optional<double> parse_float(std::string_view text);
// As int(text, base): nothing when it is no number or does not fit into 64 bits.
std::optional<std::int64_t> parse_int(std::string_view text, int base);

}  // namespace qx::jinja
