// SPDX-License-Identifier: Apache-2.0
#include "card/card_text.h"

#include <algorithm>

#include "base/error.h"
#include "text/visible.h"

namespace qx {
namespace {

constexpr std::string_view kOriginStart = "<!-- qx card ", kOriginEnd = " -->";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// Cells as a reader sees them: marks of emphasis and code go, escapes are resolved.
std::string cell_text(std::string_view cell) {
  std::string out;
  const std::string_view inner = trimmed(cell);
  for (std::size_t i = 0; i < inner.size(); ++i) {
    const char c = inner[i];
    if (c == '\\' && i + 1 < inner.size() &&
        std::ispunct(static_cast<unsigned char>(inner[i + 1]))) {
      out += inner[++i];
    } else if (c != '*' && c != '`') {
      out += c;
    }
  }
  return out;
}

bool is_table_line(std::string_view line) {
  return trimmed(line).starts_with('|');
}

std::vector<std::string> cells_of(std::string_view line) {
  std::string_view rest = trimmed(line);
  rest.remove_prefix(1);
  std::vector<std::string> cells;
  std::string cell;
  for (std::size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] == '\\' && i + 1 < rest.size()) {
      cell += rest[i];
      cell += rest[++i];
    } else if (rest[i] == '|') {
      cells.push_back(cell_text(cell));
      cell.clear();
    } else {
      cell += rest[i];
    }
  }
  if (!trimmed(cell).empty()) cells.push_back(cell_text(cell));
  return cells;
}

bool is_rule(const std::vector<std::string>& cells) {
  return !cells.empty() && std::all_of(cells.begin(), cells.end(), [](const std::string& cell) {
    return !cell.empty() && cell.find_first_not_of("-: ") == std::string::npos;
  });
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

// Reads the body, line by line.
class BodyReader {
 public:
  BodyReader(CardText& card, const std::string& file) : card_(card), file_(file) {}

  void read(std::string_view line, std::size_t number) {
    const std::string_view text = trimmed(line);
    if (text.starts_with("```")) {
      code_ = !code_;
      table_ = false;
      return;
    }
    if (code_) return;
    const bool table = is_table_line(text);
    if (table) read_row(text, number);
    table_ = table;
    if (text.starts_with('#')) {
      const std::size_t begin = text.find_first_not_of("# ");
      heading_ = begin == std::string_view::npos ? "" : cell_text(text.substr(begin));
      card_.headings.push_back(heading_);
    } else if (text.starts_with("- ") || text.starts_with("* ")) {
      card_.items.push_back({heading_, cell_text(text.substr(2)), number});
    } else if (text.starts_with(kOriginStart) && text.ends_with(kOriginEnd) &&
               text.size() > kOriginStart.size() + kOriginEnd.size()) {
      const std::string place = fmt::format("{}:{}", file_, number);
      if (!card_.origin.is_null()) fail(place, "got a second comment 'qx card', expected one");
      const std::size_t length = text.size() - kOriginStart.size() - kOriginEnd.size();
      card_.origin = parse_json(text.substr(kOriginStart.size(), length), place);
    }
  }

 private:
  void read_row(std::string_view text, std::size_t number) {
    CardRow row{number, cells_of(text)};
    if (!table_) {
      card_.tables.push_back({heading_, std::move(row), {}});
    } else if (!(card_.tables.back().rows.empty() && is_rule(row.cells))) {
      card_.tables.back().rows.push_back(std::move(row));
    }
  }

  CardText& card_;
  const std::string& file_;
  std::string heading_;
  bool code_ = false, table_ = false;
};

}  // namespace

CardText read_card(std::string_view text, const std::string& file) {
  if (text.size() > kMaxCardBytes) {
    fail(file, "got {} bytes, expected a card of at most {}", text.size(), kMaxCardBytes);
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (!is_valid_utf8(text)) fail(file, "got bytes that are not UTF-8, expected a text");
  CardText card;
  const std::vector<std::string_view> lines = lines_of(text);
  std::size_t next = 0;
  // The Hub lets blank lines stand before the first mark.
  std::size_t first = 0;
  while (first < lines.size() && trimmed(lines[first]).empty()) ++first;
  if (first < lines.size() && trimmed(lines[first]) == "---") {
    std::size_t end = first + 1;
    std::string yaml;
    for (; end < lines.size() &&
           lines[end].substr(0, lines[end].find_last_not_of(" \t") + 1) != "---";
         ++end) {
      yaml += std::string(lines[end]) + "\n";
    }
    if (end == lines.size()) {
      fail(fmt::format("{}:{}", file, first + 1),
           "got front matter without an end, expected '---'");
    }
    card.front = parse_yaml(yaml, file, first + 2);
    if (card.front->value.is_null()) card.front->value = Json::object();
    if (!card.front->value.is_object()) {
      fail(fmt::format("{}:{}", file, first + 2), "got front matter that is {}, expected keys",
           card.front->value.type_name());
    }
    next = end + 1;
  }
  BodyReader reader(card, file);
  for (; next < lines.size(); ++next) reader.read(lines[next], next + 1);
  return card;
}

std::string markdown_text(std::string_view text) {
  std::string out;
  for (const char c : without_controls(text)) {
    if (c == '\n' || c == '\t') {
      out += ' ';
    } else if (c == '<') {
      out += "&lt;";
    } else if (std::string_view("|*`[]\\").find(c) != std::string_view::npos) {
      out += '\\';
      out += c;
    } else {
      out += c;
    }
  }
  return out;
}

std::string markdown_table(const std::vector<std::string>& header,
                           const std::vector<std::vector<std::string>>& rows,
                           const std::vector<bool>& left) {
  std::string out = "|", rule = "|";
  for (std::size_t i = 0; i < header.size(); ++i) {
    out += " " + header[i] + " |";
    rule += i == 0 || (i < left.size() && left[i]) ? "---|" : "---:|";
  }
  out += "\n" + rule + "\n";
  for (const std::vector<std::string>& row : rows) {
    out += "|";
    for (const std::string& cell : row) out += " " + cell + " |";
    out += "\n";
  }
  return out;
}

std::string origin_comment(const Json& origin) {
  std::string json = dump_json(origin, -1, false, true);
  // Nothing in the JSON may end the comment.
  for (std::size_t at = json.find("-->"); at != std::string::npos; at = json.find("-->", at)) {
    json.replace(at, 3, "--\\u003e");
  }
  return std::string(kOriginStart) + json + std::string(kOriginEnd) + "\n";
}

}  // namespace qx
