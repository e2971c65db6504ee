// The structure of a card: front matter, headings, Markdown tables, list items, and the line that
// says which runs it was made from. What `qx card` writes and `qx card --check` reads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "card/yaml.h"
#include "io/json.h"

namespace qx {

struct CardRow {
  std::size_t line = 0;            // 1-based, of the file
  std::vector<std::string> cells;  // trimmed, without emphasis and code marks
};

struct CardTable {
  std::string heading;  // the nearest above
  CardRow header;
  std::vector<CardRow> rows;
};

struct CardItem {
  std::string heading, text;  // of a list item, on one line
  std::size_t line = 0;
};

struct CardText {
  std::optional<YamlDocument> front;
  Json origin;  // of the comment `<!-- qx card {..} -->`; null when there is none
  std::vector<std::string> headings;
  std::vector<CardTable> tables;
  std::vector<CardItem> items;
};

constexpr std::size_t kMaxCardBytes = std::size_t{4} << 20;

// CRLF and a byte order mark are allowed; so is a card without front matter. Text in code fences is
// neither table nor list. Fails: Error: too large, not UTF-8, front matter that is not closed or
// not YAML (parse_yaml), broken JSON in the comment.
CardText read_card(std::string_view text, const std::string& file);

// What names and sentences of others look like inside a table or a paragraph: on one line, and no
// mark of Markdown or HTML in it takes effect.
std::string markdown_text(std::string_view text);

// A Markdown table; the first column is aligned left, the others right unless `left`. Cells are
// Markdown already.
std::string markdown_table(const std::vector<std::string>& header,
                           const std::vector<std::vector<std::string>>& rows,
                           const std::vector<bool>& left = {});

// The comment that says what the card was made from.
std::string origin_comment(const Json& origin);

}  // namespace qx
