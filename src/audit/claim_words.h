// The words by which a clause claims something about scores.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "audit/prose.h"

namespace qx {

enum class WordClass {
  kNone,
  kBetter,   // "outperforms", "gain": says that a difference is real
  kWorse,    // "struggles", "loss"
  kHigher,   // "higher": says how two printed numbers stand
  kLower,    // "lower"
  kSame,     // "identical", "equally": says that there is no difference
  kSimilar,  // "comparable", "within noise": says that no difference is seen
  kSignificant,
};

struct ClaimWord {
  WordClass kind = WordClass::kNone;
  std::size_t at = 0;    // index in Clause::words
  bool negated = false;  // "not better", "no improvement"
};

// The i-th word, or "" when there is none or it is no text.
std::string_view text_at(const Clause& clause, std::size_t i);

// The word that carries the clause's claim: the first that is about scores. "higher precision" and
// "smaller size" are not.
std::optional<ClaimWord> find_claim_word(const Clause& clause);

// "may", "probably": the clause does not quite say it.
bool is_hedged(const Clause& clause);

// "3", "three"; nothing for other words.
std::optional<int> small_number(const Word& word);

// A word of one of the classes, whatever it is about.
bool has_claim_like_word(const Clause& clause);

// "because", "this shows that": a cause, which no score table holds.
bool gives_a_cause(const Clause& clause);

// "in our previous version": nothing that the table could show.
bool is_about_earlier_work(const Clause& clause);

// Whether the clause is about something that score tables do not hold: speed, size, perplexity.
bool is_about_other_things(const Clause& clause);

}  // namespace qx
