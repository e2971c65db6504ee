// SPDX-License-Identifier: Apache-2.0
#include "audit/score_table.h"

#include <gtest/gtest.h>

namespace qx {
namespace {

std::vector<ScoreTable> tables_of(std::string_view text) {
  return find_score_tables(split_text_lines(text));
}

TEST(ScoreTable, RowsAreTasks) {
  const auto tables =
      tables_of("| Task | a | b | Diff |\n|---|---|---|---|\n| ARC-C | .4 | 0.5 | +0.1 |\n");
  ASSERT_EQ(tables.size(), 1u);
  EXPECT_EQ(tables[0].variants, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(tables[0].rows.size(), 1u);
  EXPECT_EQ(tables[0].rows[0].task, "arc_challenge");
  EXPECT_DOUBLE_EQ(tables[0].rows[0].scores[0]->value, 0.4);
  EXPECT_DOUBLE_EQ(tables[0].rows[0].scores[1]->half_unit, 0.05);
  EXPECT_DOUBLE_EQ(tables[0].rows[0].difference->value, 0.1);
}

TEST(ScoreTable, ColumnsAreTasks) {
  const auto tables = tables_of("model  arc_easy  piqa\nq4  71.2  80.1\nq8  72.0  80.9\n");
  ASSERT_EQ(tables.size(), 1u);
  EXPECT_EQ(tables[0].variants, (std::vector<std::string>{"q4", "q8"}));
  ASSERT_EQ(tables[0].rows.size(), 2u);
  EXPECT_NEAR(tables[0].rows[1].scores[1]->value, 0.809, 1e-12);
}

TEST(ScoreTable, PerplexityInTheSameTableIsNoPercentage) {
  const auto tables = tables_of("| t | a |\n|-|-|\n| piqa | 0.75 |\n| perplexity | 8.31 |\n");
  ASSERT_EQ(tables.size(), 1u);
  EXPECT_DOUBLE_EQ(tables[0].rows[0].scores[0]->value, 0.75);
}

TEST(ScoreTable, TextIsNoTable) {
  EXPECT_TRUE(tables_of("ARC is a task. PIQA too.\nIn 2018 there were 1172 items.\n").empty());
  EXPECT_TRUE(tables_of("| a | b |\n|---|---|\n| x | 1 |\n").empty());
}

TEST(ScoreTable, HostileTextsEnd) {
  EXPECT_TRUE(tables_of(std::string(200000, '|')).empty());
  EXPECT_TRUE(tables_of("<!--" + std::string(1000, '<')).empty());
  std::string wide = "| arc_easy ";
  for (int i = 0; i < 20000; ++i) wide += "| 0.5 ";
  const auto tables = tables_of(wide + "|\n");
  ASSERT_EQ(tables.size(), 1u);
  EXPECT_EQ(tables[0].variants.size(), kMaxVariants);
  EXPECT_EQ(tables[0].left_out, 20000 - kMaxVariants);
  // Lines that took the square of their length: these end within the patience of a test.
  std::string tags, cells;
  while (tags.size() < 4'000'000) tags += "<a";
  while (cells.size() < 4'000'000) cells += "</td>";
  EXPECT_TRUE(tables_of(tags).empty());
  EXPECT_TRUE(tables_of(cells).empty());
}

TEST(ScoreTable, SizesAndSpeedsAreNoScores) {
  const auto tables = tables_of(
      "| t | a | b |\n|-|-|-|\n| piqa | 75.1 | 76 |\n| house_qa | 41.5 | 42 |\n| PPL | 8.31 | 8 |\n"
      "| Size (GB) | 4.2 | 5 |\n| gen tok/s | 30.5 | 20 |\n| Elo | 1030 | 1020 |\n");
  ASSERT_EQ(tables.size(), 1u);
  ASSERT_EQ(tables[0].rows.size(), 2u);
  EXPECT_EQ(tables[0].rows[1].task, "house_qa");
}

TEST(ScoreTable, ColumnsMadeOfOthersAreNoVariants) {
  for (const char* name : {"b - a", "`b` \u2212 `a`", "b vs a", "rank", "delta", "diff"}) {
    const auto tables = tables_of("| t | a | b | " + std::string(name) +
                                  " |\n|-|-|-|-|\n| piqa | 75.1 | 76 | 1 |\n");
    ASSERT_EQ(tables.size(), 1u) << name;
    EXPECT_EQ(tables[0].variants, (std::vector<std::string>{"a", "b"})) << name;
  }
  const auto tables = tables_of("| t | q4 | q4-hi |\n|-|-|-|\n| piqa | 75.1 | 76 |\n");
  EXPECT_EQ(tables[0].variants.size(), 2u);
}

TEST(ScoreTable, TwoMetricsOfATaskCountOnce) {
  const auto tables = tables_of(
      "| t | a |\n|-|-|\n| arc_easy (acc) | 0.4 |\n| arc_easy (acc_norm) | 0.41 |\n| x acc_norm | "
      "0.2 |\n"
      "| x acc | 0.3 |\n| piqa (0-shot) | 0.7 |\n| piqa (5-shot) | 0.7 |\n");
  ASSERT_EQ(tables.size(), 1u);
  std::vector<bool> counts;
  for (const TaskRow& row : tables[0].rows) counts.push_back(row.counts);
  EXPECT_EQ(counts, (std::vector<bool>{false, true, true, false, true, true}));
}

}  // namespace
}  // namespace qx
