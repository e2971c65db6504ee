// From encoded items to answers, with a model that is loaded.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "eval/asker.h"
#include "eval/scorer.h"
#include "eval/work_list.h"
#include "runs/answer_log.h"

namespace qx {

// One request per choice; the choices of an item are a group.
std::vector<ScoreRequest> requests_of(std::span<const EncodedItem> items);

// Tokens that go through the model for these items, as windows of kWindowItems share them.
TokenCounts count_in_windows(std::span<const EncodedItem> items, const PassRules& rules);

// The same by item, about: each alone, scaled so that the sum is that of the windows.
std::vector<std::int64_t> item_costs(std::span<const EncodedItem> items, const PassRules& rules);

// Scores the items in windows of kWindowItems. Calls on_answer as items are done: within a window in
// any order. No answer depends on the windows or on the rules. Fails: Error, Interrupted.
void answer_items(Model& model, const Task& task, std::span<const EncodedItem> items,
                  const PassRules& rules, const std::function<void(Answer)>& on_answer);

}  // namespace qx
