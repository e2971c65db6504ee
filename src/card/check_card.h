// What in a card no longer matches the runs it was made from: `qx card --check`. Rules:
// docs/card.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

struct CardProblem {
  std::size_t line = 0;  // 1-based; 0: of no line, something is missing
  std::string text;      // "arc_easy, q4-hi: says 0.400, the runs give 0.375 ± 0.077"
};

struct CardCheck {
  std::vector<CardProblem> problems;  // by line, what is missing last
  std::vector<std::string> notes;     // what was not checked, and why
  std::size_t checked = 0;            // cells, list items and results that were compared
};

// text: the card; file: its name, for messages. runs: the folder that holds the runs' folders. A
// card of qx card names its runs; of any other card, the score tables are compared with the runs
// that their columns are called after. Changed paragraphs, further sections and tables are allowed;
// a claim about scores in them that the audit finds contradicted or not supported is a problem.
// Fails: Error as read_card() and gather_facts() do; when the card names a run that `runs` does not
// hold; when nothing in it can be compared.
CardCheck check_card(std::string_view text, const std::string& file,
                     const std::filesystem::path& runs);

// The lines of a report, one problem a line.
std::string card_check_text(const CardCheck& check, const std::string& file);

}  // namespace qx
