// Tasks: from a row of a data set's own JSON schema to what is scored. A task is a description
// (docs/tasks.md) that is interpreted; seven are shipped, a user adds files. Contexts, continuations and
// gold answers of the seven equal those of lm-eval's definitions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace qx {

// One question. Choice i is scored as `continuations[i]` after context_of(i).
struct TaskItem {
  std::vector<std::string> contexts;  // one for all choices, or one per choice (winogrande)
  // Without the delimiter; their lengths normalize acc_norm. One only: a cloze question, which is right
  // when every token of it is the most likely one.
  std::vector<std::string> continuations;
  int gold = 0;        // in [0, continuations.size())
  std::string header;  // before everything else, examples included; empty for most tasks
  // Of what it shares with other questions, a passage: the first 16 hex digits of the SHA-256 of its
  // text. Empty: the task names no such field.
  std::string cluster = {};

  const std::string& context_of(std::size_t choice) const {
    return contexts[contexts.size() == 1 ? 0 : choice];
  }
};

// The data set on the Hugging Face Hub that a task is asked from. hub is empty when it is not told.
struct DataSource {
  std::string hub;        // "allenai/ai2_arc"
  std::string config;     // "ARC-Easy"; "default" where the set has no other
  std::string split;      // "test"
  std::int64_t rows = 0;  // published size; 0: not told
};

// Where few-shot examples come from, and how they are drawn (eval's --shots).
struct FewShotRule {
  std::string split =
      "train";            // of the same data set; the file is TASK.train.jsonl whatever its name
  std::int64_t rows = 0;  // published size; 0: not told
  // kRandom: a sample for every question. kFirst: the first K rows for all.
  enum class Sampler { kRandom, kFirst } sampler = Sampler::kRandom;
  // With kFirst: only rows whose field of this name equals the question's ("subject"). Empty: all rows.
  std::string same;
  // K + 1 rows are drawn and those equal to the question left out. lm-eval does so where neither a test
  // split nor a few-shot split is set.
  bool without_question = false;
};

struct TaskRules;  // how a row is read (task_rules.h)

struct Task {
  std::string name;           // "arc_easy": also the data file's name
  double version = 0;         // of lm-eval's definition
  bool has_acc_norm = false;  // length-normalized accuracy is one of its metrics
  bool cloze = false;         // one continuation, right when greedy decoding gives it
  DataSource data;
  FewShotRule few_shot;
  std::string delimiter = " ";  // between a context and a choice, in plain mode and in examples
  std::string example_delimiter = "\n\n";  // after an example
  std::filesystem::path file;              // the description; empty for a shipped task
  std::string description_hash;            // SHA-256 of the description's bytes
  std::vector<std::string> fields;         // top-level fields of a row that are read, sorted
  std::shared_ptr<const TaskRules> rules;

  bool shipped() const { return file.empty(); }
  // "acc", and "acc_norm" where the task has it.
  std::vector<std::string> metrics() const;
  // place: "file:line", for messages. Fails: Error for missing fields, wrong types, gold out of range.
  TaskItem read_item(const Json& row, std::string_view place) const;
};

std::span<const Task> all_tasks();             // the shipped ones, in alphabetical order
const Task* find_task(std::string_view name);  // among the shipped ones; null when there is none

// Reads a description (docs/tasks.md). Fails: Error "[file:line] field 'x': got .., expected ..".
Task parse_task(std::string_view text, std::string_view file);
Task load_task(const std::filesystem::path& file);

// "all", names of shipped tasks, and paths of descriptions (they end in .json) with commas between.
// Duplicates count once. The tasks live until the program ends. Fails: UsageError with the known names,
// or when two descriptions have one name; Error for a wrong description.
std::vector<const Task*> parse_task_list(std::string_view list);

// SHA-256 of json.dumps(row, indent=2, ensure_ascii=False): lm-eval's doc_hash of the raw row.
std::string document_hash(const Json& row);

}  // namespace qx
