// The seven multiple-choice tasks: from a row of the data set's own JSON schema to what is scored.
// Contexts, continuations and gold answers equal those of lm-eval's task definitions
// (docs/evaluation.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace qx {

// One question. Choice i is scored as `continuations[i]` after context_of(i).
struct TaskItem {
  std::vector<std::string> contexts;  // one for all choices, or one per choice (winogrande)
  std::vector<std::string>
      continuations;  // without the delimiter; their lengths normalize acc_norm
  int gold = 0;       // in [0, continuations.size())

  const std::string& context_of(std::size_t choice) const {
    return contexts[contexts.size() == 1 ? 0 : choice];
  }
};

struct Task {
  std::string_view name;  // "arc_easy": also the data file's name
  double version;         // of lm-eval's definition
  bool has_acc_norm;      // length-normalized accuracy is one of its metrics
  // place: "file:line", for messages. Fails: Error for missing fields, wrong types, gold out of
  // range.
  TaskItem (*read_item)(const Json& row, std::string_view place);
};

std::span<const Task> all_tasks();             // in alphabetical order
const Task* find_task(std::string_view name);  // null when there is none

// "all", or names with commas between. Duplicates count once. Fails: UsageError with the known
// names.
std::vector<const Task*> parse_task_list(std::string_view list);

// SHA-256 of json.dumps(row, indent=2, ensure_ascii=False): lm-eval's doc_hash of the raw row.
std::string document_hash(const Json& row);

// hellaswag's text clean-up: strip, " [title]" to ". ", bracketed marks out, double spaces halved
// once.
std::string hellaswag_preprocess(std::string_view text);

// Fields of a row. Fails: Error "[place] field 'x': got .., expected ..".
const Json& row_field(const Json& row, std::string_view key, std::string_view place);
std::string row_string(const Json& row, std::string_view key, std::string_view place);
std::int64_t row_int(const Json& row, std::string_view key, std::string_view place);
std::vector<std::string> row_strings(const Json& row, std::string_view key, std::string_view place);
// A gold index as read. Fails: Error when it is outside [0, choices).
int checked_gold(std::int64_t gold, std::size_t choices, std::string_view place);
// {"text": [..], "label": [..]} of the ARC and OpenBookQA schemas, and the answer's label.
TaskItem labelled_choices_item(const Json& row, std::string context, std::string_view answer_label,
                               std::string_view place);

TaskItem read_arc(const Json& row, std::string_view place);
TaskItem read_boolq(const Json& row, std::string_view place);
TaskItem read_hellaswag(const Json& row, std::string_view place);
TaskItem read_openbookqa(const Json& row, std::string_view place);
TaskItem read_piqa(const Json& row, std::string_view place);
TaskItem read_winogrande(const Json& row, std::string_view place);

}  // namespace qx
