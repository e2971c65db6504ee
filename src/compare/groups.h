// All runs of a comparison against each other, by their macro averages: a matrix of verdicts, and the groups
// of runs that these verdicts cannot tell apart. The verdicts are corrected over all pairs (Holm), so that
// the chance of telling any two runs apart wrongly stays below 5 %.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace qx {

// [row][column]: run `row` seen from run `column`, "row is worse than column". Nothing on the diagonal, and
// nothing anywhere when no task carries information.
using VerdictMatrix = std::vector<std::vector<std::optional<Verdict>>>;
VerdictMatrix verdict_matrix(const Comparison& comparison);

// groups: the largest sets of runs of which no two are better or worse on the average (maximal cliques); a
// run may be in several, and alone in one. By falling average of their best run; runs in a group by falling
// average. letters: per run, one letter a group ("ab"), as compact letter displays do (Piepho 2004): two runs
// that share a letter cannot be told apart. Both empty when there are no averages. At most 200 groups; a
// comparison that would have more keeps the first.
struct Groups {
  std::vector<std::vector<std::size_t>> groups;  // positions in Comparison::runs
  std::vector<std::string> letters;
};
Groups find_groups(const Comparison& comparison);

}  // namespace qx
