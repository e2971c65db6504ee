// How a task's description says that a row is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tasks/task.h"
#include "tasks/text_template.h"

namespace qx {

// The right answer's index: a fixed one, a number in a field (a string of digits counts), a label among
// labels, or the text of a choice.
struct GoldRule {
  enum class Kind { kFixed, kIndex, kLabel, kText } kind = Kind::kFixed;
  std::int64_t fixed = 0;
  FieldPath index;
  std::int64_t first = 0;  // what the first choice is called in `index`
  TextTemplate text;       // the label, or the choice
  std::optional<FieldPath> labels_field;
  std::vector<std::string> labels;
};

// Either contexts.size() == 1 with choices (several, or a list in a field), or one context per choice with
// one continuation, or one context with one continuation (cloze).
struct TaskRules {
  std::optional<TextTemplate> header;
  std::vector<TextTemplate> contexts;
  std::vector<TextTemplate> choices;
  std::optional<FieldPath> choices_field;
  std::vector<TextFilter> choices_filters;  // of choices_field
  std::optional<TextTemplate> continuation;
  GoldRule gold;
  std::optional<FieldPath> cluster;  // rows with the same text in it are not independent
};

}  // namespace qx
