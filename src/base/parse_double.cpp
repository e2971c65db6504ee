// SPDX-License-Identifier: Apache-2.0
#include "base/parse_double.h"

#include <cmath>
#include <cstddef>
#include <locale>
#include <sstream>
#include <string>

namespace qx {
namespace {

std::size_t digits_from(std::string_view text, std::size_t at) {
  std::size_t end = at;
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  return end - at;
}

std::size_t sign_at(std::string_view text, std::size_t at) {
  return at < text.size() && (text[at] == '+' || text[at] == '-') ? 1 : 0;
}

}  // namespace

std::size_t decimal_length(std::string_view text) {
  std::size_t at = sign_at(text, 0);
  std::size_t digits = digits_from(text, at);
  at += digits;
  if (at < text.size() && text[at] == '.') {
    const std::size_t behind = digits_from(text, at + 1);
    digits += behind;
    at += 1 + behind;
  }
  if (digits == 0) return 0;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    const std::size_t exponent = at + 1 + sign_at(text, at + 1);
    const std::size_t length = digits_from(text, exponent);
    if (length > 0) at = exponent + length;
  }
  return at;
}

// A stream with the classic locale: strtod depends on the locale, from_chars is missing on macOS.
std::optional<double> parse_double(std::string_view text) {
  if (text.empty() || decimal_length(text) != text.size()) return std::nullopt;
  std::istringstream stream{std::string(text)};
  stream.imbue(std::locale::classic());
  double value = 0;
  stream >> value;
  // Some libraries call a number that is too small a failure, and still give it.
  if (stream.fail() && std::fabs(value) > 1) return std::nullopt;
  return value;
}

}  // namespace qx
