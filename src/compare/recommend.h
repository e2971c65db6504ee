// Which variant to choose for what, and the paragraph that says so. Both are made from verdicts alone
// (words.h): nothing that the data do not distinguish is ever called an advantage.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace qx {

struct RecommendSettings {
  // Bytes of memory: of the peak measured while the model ran (SpeedFacts), which the run with its cache
  // must fit. Nothing: any.
  std::optional<std::int64_t> budget;
};

struct Recommendation {
  std::string use;                                // "best scores", "text continuation", ..
  std::optional<std::string> choice;              // nothing: the data do not decide it
  std::string because;                            // names the verdict it rests on; no full stop
  Verdict verdict = Verdict::kIndistinguishable;  // that it rests on
  // Where the data do not decide: how many more items of the same kind would; nothing when unknown.
  std::optional<std::int64_t> more_items;
};

// In this order: "best scores"; "smallest"; "smallest equivalent to BASELINE"; "fastest" or "fastest within
// the budget"; then a line for each use (uses.h) of whose tasks some were compared and carry information.
// One chooses among the variants, and the baseline too when there is only one variant.
std::vector<Recommendation> recommend(const Comparison& comparison,
                                      const RecommendSettings& settings = {});

// One paragraph: what is worse, better or equivalent to the baseline and where, which runs cannot be told
// apart, which variant to choose, what the data do not decide, and how large a difference would have been
// seen.
std::string paragraph(const Comparison& comparison);

}  // namespace qx
