// Score tables in any text: Markdown, pipes, tabs, aligned columns, commas, simple HTML; tasks in rows
// or in columns; fractions or percentages.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/benchmark.h"

namespace qx {

// A score as printed: 0.396 or 39.6 %.
struct PrintedScore {
  double value = 0;      // as a fraction
  double half_unit = 0;  // half of the last printed digit, as a fraction
};

struct TaskRow {
  std::string task;                      // the benchmark's name; of an unknown one, the label
  const Benchmark* benchmark = nullptr;  // null: unknown
  std::optional<std::int64_t> items;     // from the table, else the benchmark's size
  std::vector<std::optional<PrintedScore>> scores;  // one per variant
  std::optional<PrintedScore> difference;           // of a printed column of differences
  // False for acc of a task whose acc_norm has a row as well: one of both is tested and averaged.
  bool counts = true;
};

// More columns of scores than this are left out: a table grows with the pairs of its variants.
constexpr std::size_t kMaxVariants = 64;

struct ScoreTable {
  std::size_t first_line = 0, last_line = 0;  // 0-based, inclusive
  std::vector<std::string> variants;
  std::vector<TaskRow> rows;
  std::vector<std::optional<PrintedScore>> average;  // a printed average, one per variant, or empty
  std::size_t left_out = 0;                          // columns of scores beyond kMaxVariants
};

// Lines of a text. Formatting marks stay.
std::vector<std::string> split_text_lines(std::string_view text);

// Tables with at least one known benchmark, in order. A table without scores is none. Rows of sizes, speeds and
// perplexities are no scores.
std::vector<ScoreTable> find_score_tables(const std::vector<std::string>& lines);

// Cells of one line, trimmed and without emphasis marks: by '|', else tabs and two or more spaces.
std::vector<std::string> table_cells(std::string_view line);

}  // namespace qx
