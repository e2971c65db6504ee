// Template text to tokens (jinja_lexer.h).
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "text/jinja_text.h"

namespace qx::jinja {

namespace {

std::string normalize_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out.push_back('\n');
      i += i + 1 < text.size() && text[i + 1] == '\n';
    } else {
      out.push_back(text[i]);
    }
  }
  if (!out.empty() && out.back() == '\n') {
    out.pop_back();
  }
  return out;
}

bool is_digit_char(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view origin)
      : origin_(origin), text_(normalize_newlines(source)) {}

  std::vector<Lexeme> run() {
    while (pos_ < text_.size()) {
      lex_data();
    }
    emit(Token::kEnd, "");
    return std::move(lexemes_);
  }

 private:
  [[noreturn]] void error(std::string_view message) const {
    throw Error(fmt::format("{}:{}", origin_, line_), message);
  }

  void emit(Token token, std::string_view text) {
    lexemes_.push_back({token, std::string(text), line_});
  }

  std::string_view rest() const { return std::string_view(text_).substr(pos_); }
  bool at(std::string_view what) const { return rest().starts_with(what); }
  char peek(std::size_t ahead = 0) const {
    return pos_ + ahead < text_.size() ? text_[pos_ + ahead] : '\0';
  }

  // Moves over count bytes and counts their lines.
  void advance(std::size_t count) {
    const auto from = text_.begin() + static_cast<std::ptrdiff_t>(pos_);
    line_ += static_cast<int>(std::count(from, from + static_cast<std::ptrdiff_t>(count), '\n'));
    pos_ += count;
  }

  std::size_t space_at(std::size_t pos) const {
    std::size_t end = pos;
    while (end < text_.size()) {
      std::size_t next = end;
      if (!is_space(next_point(text_, next))) {
        break;
      }
      end = next;
    }
    return end - pos;
  }

  // Bytes of "{% raw %}" at pos_, or 0. Jinja2 takes it as raw only with "-%}" or "%}".
  std::size_t raw_begin() const {
    return keyword_tag(pos_, "raw", /*plus_end=*/false, /*trim=*/false);
  }

  // Bytes of "{% word %}" at pos with any sign before the word, or 0. trim: take a newline behind it.
  std::size_t keyword_tag(std::size_t pos, std::string_view word, bool plus_end, bool trim) const {
    const std::string_view text = text_;
    std::size_t end = pos;
    if (!text.substr(end).starts_with("{%")) {
      return 0;
    }
    end += 2;
    end += end < text.size() && (text[end] == '-' || text[end] == '+');
    end += space_at(end);
    if (!text.substr(end).starts_with(word)) {
      return 0;
    }
    end += word.size();
    end += space_at(end);
    if (text.substr(end).starts_with("-%}")) {
      end += 3;
      return end + space_at(end) - pos;
    }
    if (plus_end && text.substr(end).starts_with("+%}")) {
      return end + 3 - pos;
    }
    if (!text.substr(end).starts_with("%}")) {
      return 0;
    }
    end += 2;
    end += trim && end < text.size() && text[end] == '\n';
    return end - pos;
  }

  // The data before a tag at `end` whose sign is `sign`, stripped as the sign and lstrip_blocks say.
  std::string_view data_before(std::size_t end, char sign, bool variable) const {
    std::string_view data = std::string_view(text_).substr(pos_, end - pos_);
    if (sign == '-') {
      return strip(data, Side::kRight, std::nullopt);
    }
    if (sign == '+' || variable) {
      return data;
    }
    const std::size_t newline = data.rfind('\n');
    const std::size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if ((line > 0 || line_starting_) && line < data.size() &&
        strip(data.substr(line), Side::kLeft, std::nullopt).empty()) {
      return data.substr(0, line);
    }
    return data;
  }

  void emit_data(std::string_view data) {
    if (!data.empty()) {
      emit(Token::kData, data);
    }
  }

  static char sign_of(char c) { return c == '-' || c == '+' ? c : '\0'; }

  void lex_data() {
    std::size_t tag = pos_;
    do {
      tag = text_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= text_.size()) {
        emit_data(rest());
        advance(text_.size() - pos_);
        return;
      }
      ++tag;
    } while (text_[tag] != '{' && text_[tag] != '%' && text_[tag] != '#');
    --tag;
    const char kind = text_[tag + 1];
    const char sign = tag + 2 < text_.size() ? sign_of(text_[tag + 2]) : '\0';
    emit_data(data_before(tag, sign, kind == '{'));
    advance(tag - pos_);
    if (kind == '#') {
      lex_comment(sign);
    } else if (const std::size_t raw = kind == '%' ? raw_begin() : 0) {
      finish_tag(raw);
      lex_raw();
    } else {
      emit(kind == '{' ? Token::kVariableBegin : Token::kBlockBegin, "");
      advance(sign == '\0' ? 2 : 3);
      lex_code(kind == '{');
    }
  }

  // Moves behind a tag; what follows begins a line if the tag took a newline with it.
  void finish_tag(std::size_t count) {
    advance(count);
    line_starting_ = text_[pos_ - 1] == '\n';
  }

  void lex_comment(char sign) {
    // Jinja2 looks for the end right behind "{#" and its sign, so "{#-#}" is a comment.
    std::size_t end = text_.find("#}", pos_ + (sign == '\0' ? 2 : 3));
    if (end == std::string::npos) {
      error("got a comment without end, expected '#}'");
    }
    const std::size_t body = pos_ + (sign == '\0' ? 2 : 3);
    const char end_sign = end > body ? text_[end - 1] : '\0';
    end += 2;
    if (end_sign == '-') {
      end += space_at(end);
    } else if (end_sign != '+' && end < text_.size() && text_[end] == '\n') {
      ++end;
    }
    finish_tag(end - pos_);
  }

  void lex_raw() {
    for (std::size_t tag = pos_; (tag = text_.find("{%", tag)) != std::string::npos; ++tag) {
      const std::size_t size = keyword_tag(tag, "endraw", /*plus_end=*/true, /*trim=*/true);
      if (size == 0) {
        continue;
      }
      const char sign = sign_of(text_[tag + 2]);
      emit_data(data_before(tag, sign, false));
      advance(tag - pos_);
      finish_tag(size);
      return;
    }
    error("got a raw block without end, expected '{% endraw %}'");
  }

  // Bytes of the tag's end at pos_, with what it trims, or 0.
  std::size_t tag_end(bool variable) const {
    const std::string_view close = variable ? "}}" : "%}";
    if (peek() == '-' && rest().substr(1).starts_with(close)) {
      return 3 + space_at(pos_ + 3);
    }
    if (!variable && at("+%}")) {
      return 3;
    }
    if (!at(close)) {
      return 0;
    }
    return 2 + (!variable && peek(2) == '\n' ? 1 : 0);
  }

  void lex_code(bool variable) {
    std::string open;  // brackets that wait for their partner
    while (pos_ < text_.size()) {
      if (const std::size_t end = open.empty() ? tag_end(variable) : 0) {
        emit(variable ? Token::kVariableEnd : Token::kBlockEnd, "");
        finish_tag(end);
        return;
      }
      if (const std::size_t space = space_at(pos_)) {
        advance(space);
      } else if (is_digit_char(peek())) {
        lex_number();
      } else if (peek() == '"' || peek() == '\'') {
        lex_string();
      } else if (!lex_name()) {
        lex_operator(open);
      }
    }
  }

  // Digits with single underscores between them; returns the byte behind.
  template <typename IsDigit>
  std::size_t digits_end(std::size_t from, IsDigit is_digit) const {
    std::size_t end = from;
    while (end < text_.size() &&
           (is_digit(text_[end]) || (text_[end] == '_' && end > from && end + 1 < text_.size() &&
                                     is_digit(text_[end + 1])))) {
      ++end;
    }
    return end;
  }

  std::size_t float_end(std::size_t whole) const {
    if (pos_ > 0 && text_[pos_ - 1] == '.') {
      return 0;
    }
    std::size_t end = whole;
    if (end + 1 < text_.size() && text_[end] == '.' && is_digit_char(text_[end + 1])) {
      end = digits_end(end + 1, is_digit_char);
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      std::size_t exponent = end + 1;
      exponent += exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-');
      if (exponent < text_.size() && is_digit_char(text_[exponent])) {
        return digits_end(exponent, is_digit_char);
      }
    }
    return end > whole ? end : 0;
  }

  std::size_t integer_end() const {
    const char mark = static_cast<char>(peek(1) | 0x20);
    const std::size_t from = pos_ + 2 + (peek(2) == '_' ? 1 : 0);
    std::size_t end = from;
    if (peek() == '0' && mark == 'x') {
      end = digits_end(from, [](char c) {
        const char low = static_cast<char>(c | 0x20);
        return is_digit_char(c) || (low >= 'a' && low <= 'f');
      });
    } else if (peek() == '0' && mark == 'b') {
      end = digits_end(from, [](char c) { return c == '0' || c == '1'; });
    } else if (peek() == '0' && mark == 'o') {
      end = digits_end(from, [](char c) { return c >= '0' && c <= '7'; });
    }
    if (end > from) {
      return end;
    }
    return peek() == '0' ? digits_end(pos_, [](char c) { return c == '0'; })
                         : digits_end(pos_, is_digit_char);
  }

  void lex_number() {
    const std::size_t fraction = float_end(digits_end(pos_, is_digit_char));
    const std::size_t end = fraction != 0 ? fraction : integer_end();
    std::string digits = text_.substr(pos_, end - pos_);
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    emit(fraction != 0 ? Token::kFloat : Token::kInteger, digits);
    advance(end - pos_);
  }

  bool lex_name() {
    std::size_t end = pos_;
    while (end < text_.size()) {
      std::size_t next = end;
      const char32_t c = next_point(text_, next);
      if (!(end == pos_ ? is_name_start(c) : is_name_part(c))) {
        break;
      }
      end = next;
    }
    if (end == pos_) {
      return false;
    }
    emit(Token::kName, std::string_view(text_).substr(pos_, end - pos_));
    advance(end - pos_);
    return true;
  }

  void lex_string() {
    const char mark = peek();
    std::size_t end = pos_ + 1;
    while (end < text_.size() && text_[end] != mark) {
      end += text_[end] == '\\' ? 2 : 1;
    }
    if (end >= text_.size()) {
      error("got a string without end, expected its closing quote");
    }
    emit(Token::kString, unescape(std::string_view(text_).substr(pos_ + 1, end - pos_ - 1)));
    advance(end + 1 - pos_);
  }

  // Reads `count` digits of a base at pos of text, or fewer when not `exact`.
  std::optional<char32_t> code(std::string_view text, std::size_t& pos, std::size_t count, int base,
                               bool exact) const {
    std::size_t end = pos;
    const auto is_digit = [&](char c) {
      return base == 8
                 ? c >= '0' && c <= '7'
                 : std::string_view("0123456789abcdefABCDEF").find(c) != std::string_view::npos;
    };
    while (end < text.size() && end - pos < count && is_digit(text[end])) {
      ++end;
    }
    if (exact && end - pos != count) {
      return std::nullopt;
    }
    const auto value = parse_int(text.substr(pos, end - pos), base);
    pos = end;
    return static_cast<char32_t>(value.value_or(0));
  }

  std::string unescape(std::string_view text) const {
    std::string out;
    for (std::size_t pos = 0; pos < text.size();) {
      if (text[pos] != '\\' || pos + 1 == text.size()) {
        out.push_back(text[pos++]);
        continue;
      }
      const char c = text[pos + 1];
      pos += 2;
      constexpr std::string_view kNames = "abfnrtv\\'\"";
      constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
      if (const std::size_t at = kNames.find(c); at != std::string_view::npos) {
        out.push_back(kValues[at]);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        append_code(out, code(text, pos, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, true));
      } else if (c >= '0' && c <= '7') {
        --pos;
        append_code(out, code(text, pos, 3, 8, false));
      } else if (c == 'N') {
        error("got a character name (\\N) in a string, expected \\u with its number");
      } else if (c != '\n') {
        out.push_back('\\');
        out.push_back(c);
      }
    }
    return out;
  }

  void append_code(std::string& out, std::optional<char32_t> point) const {
    if (!point || *point > 0x10FFFF || (*point >= 0xD800 && *point <= 0xDFFF)) {
      error("got an escape in a string that is no character, expected a valid one");
    }
    append_point(out, *point);
  }

  void lex_operator(std::string& open) {
    constexpr std::array<std::string_view, 27> kOperators = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]",
        "(",  ")",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";", ""};
    const auto* found = std::find_if(kOperators.begin(), kOperators.end(),
                                     [&](std::string_view op) { return at(op); });
    if (found->empty()) {
      std::size_t next = pos_;
      next_point(text_, next);
      error(fmt::format("got unexpected character {}",
                        quote(std::string_view(text_).substr(pos_, next - pos_))));
    }
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') {
      open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) {
        error(fmt::format("got unexpected '{}', expected {}", c,
                          open.empty() ? "no closing bracket" : open.substr(open.size() - 1)));
      }
      open.pop_back();
    }
    emit(Token::kOperator, *found);
    advance(found->size());
  }

  const std::string_view origin_;
  const std::string text_;
  std::size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Lexeme> lexemes_;
};

}  // namespace

std::vector<Lexeme> tokenize(std::string_view source, std::string_view origin) {
  if (source.size() > kMaxSourceBytes) {
    fail(origin, "got a template of {} bytes, expected at most {}", source.size(), kMaxSourceBytes);
  }
  if (!valid_utf8(source)) {
    fail(origin, "got a template that is not valid UTF-8, expected UTF-8");
  }
  return Lexer(source, origin).run();
}

}  // namespace qx::jinja
