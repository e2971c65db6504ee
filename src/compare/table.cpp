// SPDX-License-Identifier: Apache-2.0
#include "compare/table.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"
#include "text/html.h"
#include "text/visible.h"

namespace qx {
namespace {

constexpr int kGap = 2;               // between columns
constexpr int kWidestCell = 40;       // of a terminal table
constexpr int kWidestFixedCell = 28;  // so that a column fits beside it
constexpr int kNarrowest = 40;

// A table's rows and columns exchanged. The fixed columns but the first become the first rows.
Table turned(const Table& table) {
  Table out;
  out.columns.push_back(table.columns[0]);
  for (const auto& row : table.rows) out.columns.push_back({row[0].text, false, false, false});
  std::size_t fixed = 0;
  for (std::size_t c = 1; c < table.columns.size(); ++c) {
    if (table.columns[c].fixed) ++fixed;
    std::vector<Cell> cells{table.columns[c].name};
    for (const auto& row : table.rows) cells.push_back(row[c]);
    out.rows.push_back(std::move(cells));
  }
  if (fixed > 0) out.rules.push_back(fixed);
  return out;
}

Table without_details(const Table& table) {
  Table out;
  out.rules = table.rules;
  out.may_turn = table.may_turn;
  out.rows.resize(table.rows.size());
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    if (table.columns[c].detail) continue;
    out.columns.push_back(table.columns[c]);
    for (std::size_t r = 0; r < table.rows.size(); ++r) out.rows[r].push_back(table.rows[r][c]);
  }
  return out;
}

std::vector<int> column_widths(const Table& table) {
  std::vector<int> widths;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    int width = display_width(table.columns[c].name);
    for (const auto& row : table.rows) width = std::max(width, display_width(row[c].text));
    widths.push_back(width);
  }
  return widths;
}

// Columns of a table as they stand in blocks, with the widths they are given.
struct Layout {
  std::vector<std::vector<std::size_t>> blocks;
  std::vector<int> widths;
};

// Narrows the widest of the first `count` columns until all of them and the gaps behind them take
// at most `room`. Returns what they take.
int shrink_fixed(std::vector<int>& widths, std::size_t count, int room) {
  const auto end = widths.begin() + static_cast<std::ptrdiff_t>(count);
  int total = kGap * static_cast<int>(count);
  for (auto w = widths.begin(); w != end; ++w) total += * w = std::min(*w, kWidestFixedCell);
  while (count > 0 && total > room) {
    --*std::max_element(widths.begin(), end);
    --total;
  }
  return total;
}

Layout lay_out(const Table& table, int width) {
  Layout layout;
  layout.widths = column_widths(table);
  std::vector<std::size_t> fixed;
  while (fixed.size() < table.columns.size() && table.columns[fixed.size()].fixed) {
    fixed.push_back(fixed.size());
  }
  const int fixed_width = shrink_fixed(layout.widths, fixed.size(), width * 2 / 3);
  int used = 0;
  for (std::size_t c = fixed.size(); c < table.columns.size(); ++c) {
    int& mine = layout.widths[c];
    mine = std::max(1, std::min({mine, kWidestCell, width - fixed_width}));
    if (layout.blocks.empty() || used + kGap + mine > width) {
      layout.blocks.push_back(fixed);
      used = fixed_width - kGap;
    }
    used += kGap + mine;
    layout.blocks.back().push_back(c);
  }
  if (layout.blocks.empty()) layout.blocks.push_back(fixed);
  return layout;
}

std::string padded(std::string_view text, int width, bool left, Tone tone, const PageStyle& style) {
  const std::string cut = cut_middle(text, std::max(1, width));
  const std::string pad(static_cast<std::size_t>(std::max(0, width - display_width(cut))), ' ');
  const std::string shown = toned(cut, tone, style);
  return left ? shown + pad : pad + shown;
}

std::string trimmed(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string block_text(const Table& table, const std::vector<std::size_t>& columns,
                       const std::vector<int>& widths, const PageStyle& style) {
  int total = -kGap;
  std::string head;
  for (const std::size_t c : columns) {
    total += widths[c] + kGap;
    if (!head.empty()) head.append(kGap, ' ');
    head += padded(table.columns[c].name, widths[c], table.columns[c].left, Tone::kPlain, style);
  }
  const std::string rule =
      toned(std::string(static_cast<std::size_t>(std::max(0, total)), '-'), Tone::kFaint, style);
  std::string out = bold(trimmed(std::move(head)), style) + "\n" + rule + "\n";
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    if (std::find(table.rules.begin(), table.rules.end(), r) != table.rules.end()) {
      out += rule + "\n";
    }
    std::string line;
    for (const std::size_t c : columns) {
      if (c != columns.front()) line.append(kGap, ' ');
      const Cell& cell = table.rows[r][c];
      line += padded(cell.text, widths[c], table.columns[c].left, cell.tone, style);
    }
    out += trimmed(std::move(line)) + "\n";
  }
  return out;
}

constexpr std::array<const char*, 5> kAnsi = {"", "32", "31", "36", "2"};
constexpr std::array<const char*, 5> kClasses = {"", "good", "bad", "same", "faint"};

void check(const Table& table) {
  QX_CHECK(!table.columns.empty());
  for (const auto& row : table.rows) QX_CHECK(row.size() == table.columns.size());
}

}  // namespace

std::string toned(std::string_view text, Tone tone, const PageStyle& style) {
  const char* code = kAnsi[static_cast<std::size_t>(tone)];
  if (!style.colour || *code == '\0' || text.empty()) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::string bold(std::string_view text, const PageStyle& style) {
  return style.colour ? fmt::format("\x1b[1m{}\x1b[0m", text) : std::string(text);
}

std::string cut_middle(std::string_view text, int width) {
  if (display_width(text) <= width) return std::string(text);
  const int behind = (width - 1) / 2;
  std::size_t tail = text.size();
  for (std::size_t at = text.size(); at-- > 0;) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80) continue;
    if (display_width(text.substr(at)) > behind) break;
    tail = at;
  }
  const std::string end(text.substr(tail));
  return cut_to_width(text, std::max(1, width - display_width(end))) + end;
}

std::string table_text(const Table& whole, const PageStyle& style) {
  check(whole);
  const int width = std::max(kNarrowest, style.width);
  Table table = without_details(whole);
  Layout layout = lay_out(table, width);
  if (table.may_turn && layout.blocks.size() > 1) {
    Table other = turned(table);
    Layout others = lay_out(other, width);
    const std::size_t mine = layout.blocks.size() * (table.rows.size() + 3);
    if (others.blocks.size() * (other.rows.size() + 3) < mine) {
      table = std::move(other);
      layout = std::move(others);
    }
  }
  std::string out;
  for (const auto& block : layout.blocks) {
    out += (out.empty() ? "" : "\n") + block_text(table, block, layout.widths, style);
  }
  return out;
}

std::string escape_markdown(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool word = i > 0 && i + 1 < text.size() && c == '_' &&
                      std::isalnum(static_cast<unsigned char>(text[i - 1])) != 0 &&
                      std::isalnum(static_cast<unsigned char>(text[i + 1])) != 0;
    // "<0.001" opens no tag.
    const bool tag = c == '<' && i + 1 < text.size() &&
                     (std::isalpha(static_cast<unsigned char>(text[i + 1])) != 0 ||
                      std::string_view("/!?").find(text[i + 1]) != std::string_view::npos);
    if (c == '&') {
      out += "&amp;";
    } else if (tag) {
      out += "&lt;";
    } else {
      // An underscore within a word marks nothing up, and the names of tasks have them.
      if (std::string_view("\\`*_[]|~").find(c) != std::string_view::npos && !word) out += '\\';
      out += c;
    }
  }
  return out;
}

std::string table_markdown(const Table& table) {
  check(table);
  Table escaped = table;
  for (Column& c : escaped.columns) c.name = escape_markdown(c.name);
  for (auto& row : escaped.rows) {
    for (Cell& cell : row) cell.text = escape_markdown(cell.text);
  }
  std::vector<int> widths = column_widths(escaped);
  for (int& w : widths) w = std::max(w, 3);  // GitHub wants three dashes
  const auto line = [&](const auto& text_of) {
    std::string out = "|";
    for (std::size_t c = 0; c < widths.size(); ++c) {
      const std::string& text = text_of(c);
      const std::string pad(static_cast<std::size_t>(widths[c] - display_width(text)), ' ');
      out += " " + (escaped.columns[c].left ? text + pad : pad + text) + " |";
    }
    return out + "\n";
  };
  std::string out =
      line([&](std::size_t c) -> const std::string& { return escaped.columns[c].name; });
  out += "|";
  for (std::size_t c = 0; c < widths.size(); ++c) {
    const std::string dashes(static_cast<std::size_t>(widths[c]), '-');
    out += escaped.columns[c].left ? " " + dashes + " |" : " " + dashes + ":|";
  }
  out += "\n";
  for (const auto& row : escaped.rows) {
    out += line([&](std::size_t c) -> const std::string& { return row[c].text; });
  }
  return out;
}

std::string table_html(const Table& table) {
  check(table);
  std::string out = "<div class=\"wide\"><table>\n<thead><tr>";
  for (const Column& c : table.columns) {
    out += fmt::format("<th scope=\"col\"{}>{}</th>", c.left ? " class=\"left\"" : "",
                       escape_html(c.name));
  }
  out += "</tr></thead>\n<tbody>\n";
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const bool rule = std::find(table.rules.begin(), table.rules.end(), r) != table.rules.end();
    out += rule ? "<tr class=\"rule\">" : "<tr>";
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      const Cell& cell = table.rows[r][c];
      std::string classes = kClasses[static_cast<std::size_t>(cell.tone)];
      if (table.columns[c].left) classes += classes.empty() ? "left" : " left";
      const std::string attribute = classes.empty() ? "" : fmt::format(" class=\"{}\"", classes);
      out += c == 0 ? fmt::format("<th scope=\"row\"{}>{}</th>", attribute, escape_html(cell.text))
                    : fmt::format("<td{}>{}</td>", attribute, escape_html(cell.text));
    }
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table></div>\n";
}

}  // namespace qx
