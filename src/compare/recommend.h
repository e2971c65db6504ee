// Which variant to choose, and the paragraph that says so. Both are made from verdicts alone:
// nothing that the data do not distinguish is ever called an advantage.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace qx {

struct Recommendation {
  std::string use;                    // "best scores", "smallest"
  std::optional<std::string> choice;  // nothing: the data do not decide it
  std::string because;                // names the verdict it rests on
  Verdict verdict = Verdict::kIndistinguishable;
};

std::vector<Recommendation> recommend(const Comparison& comparison);

// One paragraph: what is worse or better than the baseline and where, which variant to choose, what
// the data do not decide, and how large a difference would have been seen.
std::string paragraph(const Comparison& comparison);

}  // namespace qx
