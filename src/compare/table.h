// Tables as data, and their text for a terminal, for Markdown and for HTML. Cells are plain text
// that holds no control characters (text/visible.h); what a format must escape is escaped here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qx {

// What a cell says, for formats that can show it. The text alone must say it too.
enum class Tone { kPlain, kGood, kBad, kSame, kFaint };

struct Cell {
  std::string text;
  Tone tone = Tone::kPlain;
  // Not explicit: a row is written as the texts of its cells.
  Cell(std::string t, Tone n = Tone::kPlain) : text(std::move(t)), tone(n) {}
  Cell(const char* t) : text(t) {}
};

struct Column {
  std::string name;
  bool left = false;    // flush left, else right
  bool fixed = false;   // stands again in every block of a table that is split; these come first
  bool detail = false;  // for formats without a limit of width
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;
  std::vector<std::size_t> rules;  // a rule stands before each of these rows
  bool may_turn = false;           // rows may become columns where that takes fewer blocks
};

struct PageStyle {
  int width = 80;
  bool colour = false;  // ANSI escapes
};

// Columns side by side as far as they fit, the others in blocks below, each with the fixed columns
// again. No line is wider than style.width (at least 40): longer cells lose their middle. Ends in a
// line feed.
std::string table_text(const Table& table, const PageStyle& style);

// A GitHub table with its columns padded, so that it reads well raw too.
std::string table_markdown(const Table& table);

// <table> with header cells that name their scope; tones are classes ("good", "bad", "same",
// "faint").
std::string table_html(const Table& table);

// Text that keeps its beginning and its end and is at most `width` columns wide, width >= 1.
std::string cut_middle(std::string_view text, int width);

std::string escape_markdown(std::string_view text);  // for a table cell or a line of prose

std::string toned(std::string_view text, Tone tone, const PageStyle& style);
std::string bold(std::string_view text, const PageStyle& style);

}  // namespace qx
