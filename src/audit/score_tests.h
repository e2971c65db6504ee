// What a table of bare accuracies allows to say: two-proportion tests between its variants, and scores
// that carry no information or cannot be right. Formulas: docs/statistics.md, docs/audit.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "audit/score_table.h"

namespace qx {

enum class ScoreFlagKind { kMajorityShare, kConstantAnswer, kChance, kImpossibleValue, kExtreme };
std::string score_flag_name(ScoreFlagKind kind);  // "majority_share", ..

struct ScoreFlag {
  std::size_t row = 0, variant = 0;
  ScoreFlagKind kind{};
  std::string text;
};

// Two variants on one task, as if their answers were independent: the weaker test, since the items are
// the same. diff = a - b; relative = diff / b.
struct ScoreTest {
  std::size_t row = 0, a = 0, b = 0;
  std::int64_t n = 0;
  double diff = 0, z = 0, p = 1, p_holm = 1;  // z: pooled variance; Holm over the tasks of the pair
  std::optional<double> relative;
  bool informative = true;  // false: a flag of either score says that it carries no information
};

// Means over tasks; every task weighs the same. Tasks without information are left out.
struct AverageTest {
  std::size_t a = 0, b = 0;
  int tasks = 0;
  double diff = 0, z = 0, p = 1;
};

struct TableTests {
  std::vector<ScoreFlag> flags;
  std::vector<ScoreTest>
      tests;  // rising by pair, then row; only rows that count where both have a score and n is known
  std::vector<AverageTest> averages;  // one per pair that shares a task, rising by pair

  // Of a given pair in either order, with the sign turned to a - b. Null: not tested.
  std::optional<ScoreTest> find(std::size_t row, std::size_t a, std::size_t b) const;
  std::optional<AverageTest> find_average(std::size_t a, std::size_t b) const;
  bool no_information(std::size_t row, std::size_t variant) const;
};

TableTests test_table(const ScoreTable& table);

}  // namespace qx
