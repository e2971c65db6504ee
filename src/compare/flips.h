// Items that a variant answers otherwise than the baseline: right to wrong, wrong to right, and from one wrong
// answer to another, which accuracy cannot see (Accuracy Is Not All You Need, arXiv 2407.09141).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compare/comparison.h"
#include "io/json.h"

namespace qx {

enum class FlipKind { kRightToWrong, kWrongToRight, kChanged };
std::string flip_name(FlipKind kind);  // "right_to_wrong", "wrong_to_right", "changed"

struct Flip {
  std::int64_t index = 0;
  std::string doc_hash;
  FlipKind kind = FlipKind::kChanged;
  int gold = 0, from = 0, to = 0;         // indices of choices: the baseline's pick, the variant's
  double margin_from = 0, margin_to = 0;  // see ItemResult::margin
  double move() const { return margin_to - margin_from; }
};

// Of the items that both have, by falling |move()|, then by index; margins that are not numbers come last.
// Fails: Error when a common item differs (other data under one index).
std::vector<Flip> find_flips(const TaskResults& baseline, const TaskResults& variant);

struct TaskFlips {
  std::string task, metric, baseline, variant;
  std::int64_t items = 0;  // that both have
  std::vector<Flip> flips;
};

// Every variant against the baseline, in one task or (task empty) in all that both have.
// Fails: UsageError when no run has the task.
std::vector<TaskFlips> all_flips(const std::vector<RunResults>& runs, std::size_t baseline,
                                 const std::string& task);

Json flips_json(const std::vector<TaskFlips>& flips);

}  // namespace qx
