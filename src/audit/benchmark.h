// The public benchmarks that score tables are about: their sizes and what a score without any
// knowledge would be. Sources of the figures: docs/audit.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qx {

struct Benchmark {
  std::string_view name;     // lm-eval's task name
  std::int64_t items;        // in the split that lm-eval scores
  double chance;             // accuracy of guessing; 0 where nothing can be guessed
  double majority = 0;       // share of the commonest answer, where it is known; else 0
  bool is_count = true;      // the score is right answers / items
  bool two_answers = false;  // a constant answer scores majority or 1 - majority
};

// "ARC-C", "arc_challenge (25-shot)", "HellaSwag acc_norm", "obqa": the benchmark that a table's
// label names, or null. Lengths of label: any.
const Benchmark* find_benchmark(std::string_view label);

// A mention in running text: only names that are no ordinary words ("wino" is one there, "hs" not).
// word: lower-case letters and digits, of one to four words joined.
const Benchmark* find_mentioned_benchmark(std::string_view joined_words);

// Lower-case letters and digits of a text; everything else dropped.
std::string letters_and_digits(std::string_view text);

}  // namespace qx
