// SPDX-License-Identifier: Apache-2.0
#include "tasks/text_template.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "base/error.h"
#include "tasks/python_text.h"

namespace qx {
namespace {

struct FilterName {
  std::string_view name;
  TextFilter::Kind kind;
  int arguments;
};

constexpr FilterName kFilters[] = {
    {"strip", TextFilter::Kind::kStrip, 0},
    {"lstrip", TextFilter::Kind::kLstrip, 0},
    {"rstrip", TextFilter::Kind::kRstrip, 0},
    {"capitalize", TextFilter::Kind::kCapitalize, 0},
    {"replace", TextFilter::Kind::kReplace, 2},
    {"before", TextFilter::Kind::kBefore, 1},
    {"after", TextFilter::Kind::kAfter, 1},
    {"before_last", TextFilter::Kind::kBeforeLast, 1},
    {"after_last", TextFilter::Kind::kAfterLast, 1},
    {"remove_brackets", TextFilter::Kind::kRemoveBrackets, 0},
};

std::string filter_names() {
  std::string names;
  for (const FilterName& f : kFilters) names += (names.empty() ? "" : ", ") + std::string(f.name);
  return names;
}

std::string_view trimmed_field(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// A quoted argument at the start of text; removes it. Nothing when there is none.
std::optional<std::string> take_quoted(std::string_view& text) {
  if (text.empty() || text.front() != '\'') return std::nullopt;
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\'') {
      text.remove_prefix(i + 1);
      return value;
    }
    if (text[i] == '\\' && ++i == text.size()) break;
    value += text[i];
  }
  return std::nullopt;
}

// "('a', 'b')". Nothing when it is written otherwise.
std::optional<std::vector<std::string>> parse_arguments(std::string_view text) {
  std::vector<std::string> arguments;
  if (text.empty()) return arguments;
  if (text.size() < 2 || text.front() != '(' || text.back() != ')') return std::nullopt;
  text = text.substr(1, text.size() - 2);
  while (true) {
    text = trimmed_field(text);
    std::optional<std::string> argument = take_quoted(text);
    if (!argument) return std::nullopt;
    arguments.push_back(std::move(*argument));
    text = trimmed_field(text);
    if (text.empty()) return arguments;
    if (text.front() != ',') return std::nullopt;
    text.remove_prefix(1);
  }
}

// re.sub(r"\[.*?\]", "", text): from each '[' to the next ']', unless a line feed comes first.
std::string without_brackets(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '[') {
      const std::size_t stop = text.find_first_of("]\n", i + 1);
      if (stop != std::string_view::npos && text[stop] == ']') {
        i = stop + 1;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

std::string apply(const TextFilter& filter, const std::string& text, std::string_view what,
                  std::string_view place) {
  using Kind = TextFilter::Kind;
  const auto found = [&](std::size_t at) {
    if (at == std::string::npos) fail(place, "{}: got no '{}', expected one", what, filter.first);
    return at;
  };
  switch (filter.kind) {
    case Kind::kStrip:
      return std::string(python_strip(text));
    case Kind::kLstrip:
      return std::string(python_lstrip(text));
    case Kind::kRstrip:
      return std::string(python_rstrip(text));
    case Kind::kCapitalize:
      return python_capitalize(text);
    case Kind::kReplace:
      return python_replace(text, filter.first, filter.second);
    case Kind::kBefore:
      return text.substr(0, found(text.find(filter.first)));
    case Kind::kAfter:
      return text.substr(found(text.find(filter.first)) + filter.first.size());
    case Kind::kBeforeLast:
      return text.substr(0, found(text.rfind(filter.first)));
    case Kind::kAfterLast:
      return text.substr(found(text.rfind(filter.first)) + filter.first.size());
    case Kind::kRemoveBrackets:
      return without_brackets(text);
  }
  return text;
}

// The end of a field in braces: the '}' outside quotes; npos when there is none.
std::size_t closing_brace(std::string_view text, std::size_t begin) {
  bool quoted = false;
  for (std::size_t i = begin; i < text.size(); ++i) {
    if (quoted && text[i] == '\\') {
      ++i;
    } else if (text[i] == '\'') {
      quoted = !quoted;
    } else if (text[i] == '}' && !quoted) {
      return i;
    }
  }
  return std::string_view::npos;
}

// Parts between '|' outside quotes.
std::vector<std::string_view> split_filters(std::string_view text) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (quoted && text[i] == '\\') {
      ++i;
    } else if (text[i] == '\'') {
      quoted = !quoted;
    } else if (text[i] == '|' && !quoted) {
      parts.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  parts.push_back(text.substr(begin));
  return parts;
}

}  // namespace

FieldPath::FieldPath(std::string_view path, std::string_view place) : name_(path) {
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    parts_.emplace_back(path.substr(begin, end - begin));
    if (parts_.back().empty()) {
      fail(place, "got '{}', expected the name of a field, as question or choices.text", path);
    }
    begin = end + 1;
  }
}

const Json& FieldPath::value(const Json& row, std::string_view place) const {
  if (!row.is_object()) fail(place, "got {}, expected a JSON object", row.type_name());
  const Json* at = &row;
  std::string seen;  // of the part before
  for (const std::string& part : parts_) {
    const std::string here = seen.empty() ? part : seen + "." + part;
    if (at->is_array()) {
      std::size_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      if (error != std::errc{} || end != part.data() + part.size()) {
        fail(place, "field '{}': got an array, expected an object with '{}'", seen, part);
      }
      if (index >= at->size()) {
        fail(place, "field '{}': got {} elements, expected more than {}", seen, at->size(), index);
      }
      at = &(*at)[index];
    } else {
      if (!at->is_object()) {
        fail(place, "field '{}': got {}, expected an object with '{}'", seen, at->type_name(),
             part);
      }
      const auto found = at->find(part);
      if (found == at->end()) fail(place, "field '{}' is missing", here);
      at = &*found;
    }
    seen = here;
  }
  return *at;
}

std::string FieldPath::string(const Json& row, std::string_view place) const {
  const Json& json = value(row, place);
  if (!json.is_string()) {
    fail(place, "field '{}': got {}, expected a string", name_, json.type_name());
  }
  return json.get<std::string>();
}

std::vector<std::string> FieldPath::strings(const Json& row, std::string_view place) const {
  const Json& json = value(row, place);
  if (!json.is_array()) {
    fail(place, "field '{}': got {}, expected an array of strings", name_, json.type_name());
  }
  std::vector<std::string> strings;
  for (const Json& element : json) {
    if (!element.is_string()) {
      fail(place, "field '{}': got {} at index {}, expected a string", name_, element.type_name(),
           strings.size());
    }
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

TextFilter parse_text_filter(std::string_view text, std::string_view place) {
  text = trimmed_field(text);
  const std::string_view name = trimmed_field(text.substr(0, text.find('(')));
  const auto* known = std::find_if(std::begin(kFilters), std::end(kFilters),
                                   [name](const FilterName& f) { return f.name == name; });
  if (known == std::end(kFilters)) {
    fail(place, "got the filter '{}', expected one of {}", name, filter_names());
  }
  const std::size_t open = std::min(text.find('('), text.size());
  std::optional<std::vector<std::string>> arguments = parse_arguments(text.substr(open));
  const auto expected = static_cast<std::size_t>(known->arguments);
  if (!arguments || arguments->size() != expected) {
    fail(place, "got the filter \"{}\", expected {}{}", text, name,
         expected == 0   ? " without arguments"
         : expected == 1 ? "('text')"
                         : "('from', 'to')");
  }
  TextFilter filter;
  filter.kind = known->kind;
  if (expected >= 1) filter.first = std::move((*arguments)[0]);
  if (expected >= 2) filter.second = std::move((*arguments)[1]);
  if (expected >= 1 && filter.first.empty()) {
    fail(place, "got the filter \"{}\", expected a text of at least one character to look for",
         text);
  }
  return filter;
}

std::string apply_text_filters(const std::vector<TextFilter>& filters, std::string text,
                               std::string_view what, std::string_view place) {
  for (const TextFilter& filter : filters) text = apply(filter, text, what, place);
  return text;
}

TextTemplate::TextTemplate(std::string_view source, std::string_view place) : source_(source) {
  Piece piece;
  for (std::size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if ((c == '{' || c == '}') && i + 1 < source.size() && source[i + 1] == c) {
      piece.literal += c;
      ++i;
    } else if (c == '}') {
      fail(place, "got a '}}' that closes nothing, expected '}}}}' for a brace");
    } else if (c != '{') {
      piece.literal += c;
    } else {
      const std::size_t end = closing_brace(source, i + 1);
      if (end == std::string_view::npos) {
        fail(place, "got '{}' without its '}}', expected {{field}}, or '{{{{' for a brace",
             source.substr(i, 40));
      }
      const std::vector<std::string_view> parts = split_filters(source.substr(i + 1, end - i - 1));
      piece.has_field = true;
      piece.field = FieldPath(trimmed_field(parts[0]), place);
      for (std::size_t f = 1; f < parts.size(); ++f) {
        piece.filters.push_back(parse_text_filter(parts[f], place));
      }
      pieces_.push_back(std::move(piece));
      piece = {};
      i = end;
    }
  }
  if (!piece.literal.empty()) pieces_.push_back(std::move(piece));
}

std::string TextTemplate::what() const {
  const bool is_field = pieces_.size() == 1 && pieces_[0].has_field && pieces_[0].literal.empty();
  return is_field ? fmt::format("field '{}'", pieces_[0].field.name()) : "the text";
}

std::string TextTemplate::render(const Json& row, std::string_view place) const {
  std::string text;
  for (const Piece& piece : pieces_) {
    text += piece.literal;
    if (!piece.has_field) continue;
    text += apply_text_filters(piece.filters, piece.field.string(row, place),
                               fmt::format("field '{}'", piece.field.name()), place);
  }
  return apply_text_filters(filters_, std::move(text), what(), place);
}

void TextTemplate::add_fields(std::vector<std::string>& fields) const {
  for (const Piece& piece : pieces_) {
    if (piece.has_field) fields.push_back(piece.field.first_part());
  }
}

}  // namespace qx
