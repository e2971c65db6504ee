// Flips with everything a reader needs to judge them: prompt, choices, what each run made of every
// choice. Prompts are long and flips many, so only a part is kept, and what is left out is counted.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compare/comparison.h"
#include "compare/flips.h"

namespace qx {

struct FlipSettings {
  std::size_t per_task = 100;  // of one variant and task
  std::size_t page_bytes = std::size_t{6}
                           << 20;   // that all flips with their texts take on the page
  std::size_t prompt_bytes = 3000;  // longer prompts are cut in the middle
  std::size_t choice_bytes = 1200;
  std::optional<std::filesystem::path> data;  // folder of TASK.jsonl instead of the recorded file
};

// An item as it was asked, kept once for all variants that flip it.
struct AskedItem {
  std::string task;
  std::int64_t index = 0;
  std::string prompt;                // before the choices; "" when each choice has one of its own
  std::vector<std::string> choices;  // what is scored; with its own context where prompt is ""
  bool as_sent =
      false;  // the text that the model got; else the question alone, without template and examples
  std::int64_t cut_bytes = 0;  // left out of the middle of long texts
};

struct FlipToRead {
  Flip flip;
  std::size_t item = 0;                        // in FlipsToRead::items
  std::vector<double> values_from, values_to;  // of each choice under the metric; -inf possible
};

// One variant and task.
struct FlipList {
  std::string variant, task, metric;
  std::int64_t items = 0;                // that both runs have
  std::array<std::int64_t, 3> counts{};  // by FlipKind, all of them
  std::vector<FlipToRead>
      flips;                  // right to wrong and wrong to right first, then by size of the move
  std::int64_t left_out = 0;  // counted but not in `flips`
};

struct FlipsToRead {
  std::vector<AskedItem> items;
  std::vector<FlipList> lists;     // by variant, then by task
  std::vector<std::string> notes;  // what could not be shown, and why
};

// folders: one per run, in the order of `runs`. The baseline's run.json says which data and model
// it was. Texts that are gone become a note, never an error.
FlipsToRead flips_to_read(const std::vector<RunResults>& runs, std::size_t baseline,
                          const std::vector<std::filesystem::path>& folders,
                          const FlipSettings& settings);

// Text of at most `limit` bytes: its beginning and its end with "\n[.. N bytes left out ..]\n"
// between; never within a UTF-8 sequence. cut: what was left out is added to it.
std::string shorten_middle(const std::string& text, std::size_t limit, std::int64_t& cut);

}  // namespace qx
