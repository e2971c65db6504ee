// A model card in the Hub's format from facts alone (card/facts.h). Sentences about differences
// come from compare/words.h and from nowhere else. Sections and format: docs/card.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "card/facts.h"
#include "io/json.h"

namespace qx {

// The whole README.md.
std::string write_card(const CardFacts& facts);

// Its parts.
Json card_front_matter(const CardFacts& facts);  // model-index included
std::string card_body(const CardFacts& facts);   // from the title on
std::string card_usage(const CardFacts& facts);  // how to run it, and how to get the figures again

// What the card records about itself, so that it can be checked against the runs: names, never
// paths.
Json card_origin(const CardFacts& facts);
constexpr int kCardFormat = 1;

}  // namespace qx
