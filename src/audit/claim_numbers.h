// The numbers of a clause, and whether the table's scores give them: counts of tasks, scores, absolute
// and relative differences.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "audit/prose.h"
#include "audit/score_tests.h"

namespace qx {

// "5 of the 7", "2/7", "three out of seven tasks", "all tasks".
struct CountClaim {
  int count = 0;
  std::optional<int> total;
  bool all = false;
  bool is_about_scores = false;  // "scores higher on", "wins": says how the printed numbers stand
};
std::optional<CountClaim> find_count(const Clause& clause);

// A number that may be a score or a difference of scores.
struct NumberClaim {
  double value = 0;            // as a fraction; percentages and points are divided by 100
  double half_unit = 0;        // half of the last written digit, likewise
  bool is_percent = false;     // "21 %": may be relative
  bool is_difference = false;  // signed, or in points, or "by 0.02"
  bool has_sign = false;
};
std::vector<NumberClaim> find_numbers(const Clause& clause);

struct NumberMatch {
  bool matches = false;
  std::string text;  // what the table gives
  ScoreTest test;    // of a difference
};

// A number as a score of the clause's tasks (of any task when it names none) and variants. Nothing when
// it cannot be a score.
std::optional<NumberMatch> match_score(const NumberClaim& number, const ScoreTable& table,
                                       const Clause& clause);

// A number as the difference of two scores: absolute, or relative to either, or as their ratio.
NumberMatch match_difference(const NumberClaim& number, const ScoreTable& table,
                             const ScoreTest& test);

}  // namespace qx
