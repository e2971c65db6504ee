// The sentences of a card, cut into clauses with what they mention: variants, tasks, numbers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/score_table.h"

namespace qx {

struct Word {
  enum class Kind { kText, kNumber, kVariant };
  Kind kind = Kind::kText;
  std::string text;         // lower case; of a variant, its name
  std::size_t variant = 0;  // index in the table
  double number = 0;        // as written, with its sign
  int decimals = 0;
  bool percent = false, has_sign = false;
};

struct Clause {
  std::string text;  // as a reader sees it
  std::vector<Word> words;
  std::vector<std::size_t> rows;      // of the table: tasks that the clause names
  std::vector<std::size_t> variants;  // that it names, in order, each once
  // From the heading above, the clause before or the same row of a table, where the clause names none.
  std::vector<std::size_t> context_rows;
  std::optional<std::size_t> context_variant;
  bool paired = false;  // it, its line or the heading above names a paired test
};

// Everything outside the score tables, code blocks and front matter. table: whose variants and tasks are
// looked for; tables: all of them, whose lines are left out.
std::vector<Clause> find_clauses(const std::vector<std::string>& lines, const ScoreTable& table,
                                 const std::vector<ScoreTable>& tables);

}  // namespace qx
