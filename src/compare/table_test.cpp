// SPDX-License-Identifier: Apache-2.0
#include "compare/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "compare/document.h"
#include "text/visible.h"

namespace qx {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

int widest(const std::string& text) {
  int width = 0;
  for (const std::string& line : lines_of(text)) width = std::max(width, display_width(line));
  return width;
}

// A table as `qx compare` makes it: a task a row, a run a column.
Table scores(int runs, std::size_t name_length, int tasks = 7) {
  Table table;
  table.may_turn = true;
  table.columns = {{"task", true, true}, {"n", false, true}, {"metric", true, true}};
  for (int r = 0; r < runs; ++r) {
    std::string name = "run" + std::to_string(r) + std::string(20, 'x');
    table.columns.push_back({name.substr(0, name_length)});
  }
  for (int t = 0; t < tasks; ++t) {
    std::vector<Cell> row{"arc_challenge" + std::to_string(t), "10042", "acc_bytes"};
    for (int r = 0; r < runs; ++r) {
      row.emplace_back("!▼ 0." + std::to_string(100 + 10 * t + r) + " ±0.031");
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

TEST(Table, NeverWiderThanAskedAndLosesNoCell) {
  for (const int runs : {1, 2, 3, 5, 8}) {
    for (const std::size_t length : {4, 8, 20}) {
      for (const int width : {60, 80, 132}) {
        const Table table = scores(runs, length);
        const std::string text = table_text(table, {width, false});
        EXPECT_LE(widest(text), width) << runs << " runs\n" << text;
        for (const auto& row : table.rows) {
          for (const Cell& cell : row) {
            EXPECT_NE(text.find(cell.text), std::string::npos) << cell.text << "\n" << text;
          }
        }
        for (const Column& c : table.columns) EXPECT_NE(text.find(c.name), std::string::npos);
      }
    }
  }
}

TEST(Table, TurnsWhereThatTakesFewerLines) {
  Table table = scores(8, 12);
  const auto turned = lines_of(table_text(table, {80, false}));
  table.may_turn = false;
  const auto split = lines_of(table_text(table, {80, false}));
  EXPECT_LT(turned.size(), split.size());
  EXPECT_EQ(lines_of(table_text(scores(2, 4), {80, false}))[0],
            "task                n  metric                run0             run1");
}

TEST(Table, LongCellsLoseTheirMiddle) {
  EXPECT_EQ(cut_middle("Qwen3-8B-something-long-q4-hi", 15), "Qwen3-8…g-q4-hi");
  EXPECT_EQ(cut_middle("short", 5), "short");
  EXPECT_EQ(cut_middle("日本語日本語日本語", 9), "日本…本語");
  EXPECT_EQ(cut_middle("abc", 1), "…");
  Table table = scores(3, 8);
  table.columns[3].name = std::string(300, 'n');
  table.rows[0][0] = std::string(300, 't');
  table.rows[0][1] = std::string(300, 'n');
  table.rows[0][2] = std::string(300, 'm');
  table.rows[0][4] = std::string(300, 'c');
  EXPECT_LE(widest(table_text(table, {80, false})), 80);
  EXPECT_LE(widest(table_text(table, {1, false})), 40);
}

TEST(Table, ColourChangesNothingButColours) {
  Table table = scores(2, 8);
  table.rows[1][3].tone = Tone::kBad;
  const std::string plain = table_text(table, {80, false});
  std::string coloured = table_text(table, {80, true});
  EXPECT_NE(coloured.find("\x1b[31m"), std::string::npos);
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  for (std::size_t at; (at = coloured.find('\x1b')) != std::string::npos;) {
    coloured.erase(at, coloured.find('m', at) - at + 1);
  }
  EXPECT_EQ(coloured, plain);
}

TEST(Table, DetailsAreForWideFormatsOnly) {
  Table table = scores(1, 8);
  table.columns.push_back({"extra", false, false, true});
  for (auto& row : table.rows) row.emplace_back("42");
  EXPECT_EQ(table_text(table, {80, false}).find("extra"), std::string::npos);
  EXPECT_NE(table_markdown(table).find("extra"), std::string::npos);
  EXPECT_NE(table_html(table).find("extra"), std::string::npos);
}

TEST(Table, MarkdownIsAlignedAndEscaped) {
  Table table;
  table.columns = {{"a|b", true}, {"n"}};
  table.rows = {{"x*y_z <b>", "<0.001"}, {"arc_easy", "7"}};
  EXPECT_EQ(table_markdown(table),
            "| a\\|b          |      n |\n"
            "| ------------- | ------:|\n"
            "| x\\*y_z &lt;b> | <0.001 |\n"
            "| arc_easy      |      7 |\n");
}

TEST(Table, HtmlIsEscaped) {
  Table table;
  table.columns = {{"<script>", true}, {"n"}};
  table.rows = {{"\"a\" & 'b'", Cell("worse", Tone::kBad)}};
  table.rules = {0};
  const std::string html = table_html(table);
  EXPECT_NE(html.find("&lt;script&gt;"), std::string::npos);
  EXPECT_NE(html.find("&quot;a&quot; &amp; &#39;b&#39;"), std::string::npos);
  EXPECT_NE(html.find("<td class=\"bad\">worse</td>"), std::string::npos);
  EXPECT_EQ(html.find("<script"), std::string::npos);
}

TEST(Document, EveryFormatHoldsEveryPart) {
  ComparisonPage document{
      "A & B",
      {{"One",
        {Paragraph{std::string(30, 'w') + " " + std::string(60, 'v')},
         BulletList{{"first " + std::string(60, 'y') + " continued-here", "second"}},
         scores(2, 4)}},
       {"Two", {Paragraph{"<i>"}}}}};
  const std::string text = document_text(document, {80, false});
  EXPECT_LE(widest(text), 80);
  EXPECT_NE(text.find("\n- second\n"), std::string::npos);
  EXPECT_NE(text.find("\n  continued-here\n"), std::string::npos) << text;
  EXPECT_NE(document_markdown(document).find("\n## Two\n\n&lt;i>\n"), std::string::npos);
  const std::string html = document_html(document);
  EXPECT_NE(html.find("<title>A &amp; B</title>"), std::string::npos);
  EXPECT_NE(html.find("<li>second</li>"), std::string::npos);
  EXPECT_NE(html.find("<p>&lt;i&gt;</p>"), std::string::npos);
  EXPECT_EQ(html.find("http"), std::string::npos);  // nothing comes from elsewhere
}

}  // namespace
}  // namespace qx
