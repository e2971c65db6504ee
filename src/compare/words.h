// Verdicts in words: the only place where a verdict becomes prose, for text, Markdown, HTML,
// reports and cards alike. What is indistinguishable is never called an advantage, and its
// difference is never given as a number of its own; what is equivalent is called so with its
// margin. No sentence holds a NaN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace qx {

// A difference of accuracies in points with its sign: "+1.2", "-0.3", "0.0".
std::string points(double difference);
std::string interval_words(const Interval& interval);  // "95 % interval -1.2 to +0.4"
std::string margin_words(double margin);               // "1 point", "0.5 points"
std::string count_words(std::int64_t count);           // "1,172"
// Of a calculated number of items: "about 2,300", two digits of it.
std::string about_words(std::int64_t count);
std::string size_words(std::int64_t bytes);                     // "84.3 MB"
std::string join_words(const std::vector<std::string>& words);  // "a, b and c"; "nothing" for none

// "better", "worse by less than the margin of 1 point", "equivalent within 1 point",
// "indistinguishable".
std::string verdict_words(Verdict verdict, bool within_margin, double margin);

// Whether the pair's verdict on a task may be told: not where the task says nothing about one of both, unless the variant is
// worse there (a model that fell to one answer for everything lost something; one that is "better" than such a
// model gained nothing).
bool is_told(const Comparison& comparison, const PairSummary& pair, std::size_t task);

// One sentence with its full stop on task `task` of the pair.
std::string task_sentence(const Comparison& comparison, const PairSummary& pair, std::size_t task);
// On the macro average of the pair; says why where there is none.
std::string average_sentence(const Comparison& comparison, const PairSummary& pair);
// The same as a clause without its first capital and full stop, for lists.
std::string average_clause(const Comparison& comparison, const PairSummary& pair);
// All tasks and the average of the pair in one sentence.
std::string pair_sentence(const Comparison& comparison, const PairSummary& pair);
// Which runs the averages cannot tell apart; "" when there are no averages.
std::string groups_sentence(const Comparison& comparison);
// Tasks that carry no information, and why they are left out; "" when all do.
std::string uninformative_sentence(const Comparison& comparison);

}  // namespace qx
