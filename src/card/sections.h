// Sections of the card's body, and what they share. Only of this folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "card/facts.h"

namespace qx {

std::string card_verdicts(const CardFacts& facts);  // empty without a base: nothing is claimed
std::string card_measurements(
    const CardFacts& facts);  // speed and distance; empty when not measured

// Text as inline code, on one line; marks that would end it are dropped.
std::string code_text(std::string_view text);
// What the row of an average is called; not "average" alone, since tasks without information are
// left out.
std::string average_label(std::int64_t tasks);
std::string list_item(std::string_view text);
std::string run_text(const CardFacts& facts, std::size_t run);  // its name, as Markdown
// Positions of the runs as columns show them: the base, the card's own, the others.
std::vector<std::size_t> column_order(const CardFacts& facts);

}  // namespace qx
