// From encoded items to answers, with a model that is loaded.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "eval/asker.h"
#include "eval/scorer.h"
#include "runs/answer_log.h"

namespace qx {

// Items that are scored together: they share passes and beginnings.
constexpr std::size_t kWindowItems = 256;

// One request per choice; the choices of an item are a group.
std::vector<ScoreRequest> requests_of(std::span<const EncodedItem> items);

// Scores the items in windows of kWindowItems. Calls on_answer as items are done: within a window in
// any order. No answer depends on the windows or on the rules. Fails: Error, Interrupted.
void answer_items(Model& model, const Task& task, std::span<const EncodedItem> items,
                  const PassRules& rules, const std::function<void(Answer)>& on_answer);

}  // namespace qx
