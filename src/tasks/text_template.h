// Texts made from the fields of a row: "Question: {question|strip}\nAnswer:".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace qx {

// A value inside a row: "choices.text", "choices.0" (a number is an index where it meets an array).
class FieldPath {
 public:
  FieldPath() = default;
  // Fails: Error at place for an empty part.
  FieldPath(std::string_view path, std::string_view place);

  const std::string& name() const { return name_; }
  const std::string& first_part() const { return parts_.front(); }

  // Fails: Error "[place] field 'x': got .., expected ..", or that it is missing.
  const Json& value(const Json& row, std::string_view place) const;
  std::string string(const Json& row, std::string_view place) const;
  std::vector<std::string> strings(const Json& row, std::string_view place) const;

 private:
  std::string name_;
  std::vector<std::string> parts_;
};

// One operation on a text, named after Python's string method where there is one:
// strip lstrip rstrip capitalize replace('from', 'to') before('x') after('x') before_last('x')
// after_last('x') remove_brackets. Quotes and backslashes inside quotes are written \' and \\.
struct TextFilter {
  enum class Kind {
    kStrip,
    kLstrip,
    kRstrip,
    kCapitalize,
    kReplace,
    kBefore,
    kAfter,
    kBeforeLast,
    kAfterLast,
    kRemoveBrackets,
  };
  Kind kind = Kind::kStrip;
  std::string first, second;  // arguments
};

// Fails: Error "[place] got .., expected ..".
TextFilter parse_text_filter(std::string_view text, std::string_view place);

// what: how messages call the text. Fails: Error when before() and its like do not find their mark.
std::string apply_text_filters(const std::vector<TextFilter>& filters, std::string text,
                               std::string_view what, std::string_view place);

// A text with {field|filter|filter} in it; "{{" and "}}" stand for braces. Then filters on the whole.
class TextTemplate {
 public:
  TextTemplate() = default;
  // Fails: Error "[place] got .., expected ..".
  TextTemplate(std::string_view source, std::string_view place);

  void set_filters(std::vector<TextFilter> filters) { filters_ = std::move(filters); }
  std::string render(const Json& row, std::string_view place) const;
  // The field when the text is nothing else; else "the text".
  std::string what() const;
  const std::string& source() const { return source_; }
  // Adds the first parts of the fields that are used.
  void add_fields(std::vector<std::string>& fields) const;

 private:
  struct Piece {
    std::string literal;  // before the field
    bool has_field = false;
    FieldPath field;
    std::vector<TextFilter> filters;
  };
  std::string source_;
  std::vector<Piece> pieces_;
  std::vector<TextFilter> filters_;
};

}  // namespace qx
