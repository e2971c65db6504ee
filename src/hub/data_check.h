// What a folder of task data holds, and what is wrong with it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tasks/task.h"

namespace qx {

struct DataRow {
  std::int64_t line = 0;  // from 1
  std::string doc_hash;
  TaskItem item;
};

struct RowFault {
  std::int64_t line = 0;
  std::string text;
};

// A data file read to its end, whatever is wrong with single lines.
struct DataRows {
  std::vector<DataRow> rows;     // those that can be read
  std::int64_t lines = 0;        // all, but blank ones at the end
  std::int64_t fault_count = 0;  // of them, those that cannot
  std::vector<RowFault> faults;  // the first max_faults of those
};
DataRows read_data_rows(const Task& task, std::string_view text, std::string_view file,
                        std::size_t max_faults);

// Two lines of a file (or of the train and the evaluation file) that are alike.
struct LinePair {
  std::int64_t first = 0, second = 0;
};

struct FileCheck {
  std::string name;    // "arc_easy.jsonl"
  std::string path;    // or the name alone, of the set that ships with the program
  std::string origin;  // as TaskData's (tasks/dataset.h)
  bool train = false;
  bool present = false;  // nothing below is set when not
  std::int64_t bytes = 0, rows = 0;
  std::optional<std::int64_t> published;
  std::string sha256;
  std::string record;  // "same", "differs" or "none": against sources.json
  std::string revision;

  std::int64_t fault_count = 0;
  std::vector<RowFault> faults;
  std::int64_t duplicate_count = 0;  // rows equal to an earlier one (doc_hash)
  std::vector<LinePair> duplicates;
  std::int64_t same_question_count = 0;  // rows with the question of an earlier one
  std::int64_t contradiction_count = 0;  // equal question and choices, another gold answer
  std::vector<LinePair> contradictions;
  std::map<int, std::int64_t> gold;              // index of the answer -> rows
  std::map<std::int64_t, std::int64_t> choices;  // number of choices -> rows
  double majority_share = 0;                     // of the most frequent gold answer
  // Code points of the context and the longest choice; the line of the shortest and longest item.
  std::int64_t shortest = 0, shortest_line = 0, longest = 0, longest_line = 0;
  // Of a train file: rows whose question and choices are those of an evaluation item.
  std::int64_t overlap_count = 0;
  std::vector<LinePair> overlap;  // line of the train file, line of the evaluation file

  std::vector<std::string> errors, warnings;  // for a person, without the file's name
};

struct TaskCheck {
  std::string task;
  FileCheck evaluation, train;
};

struct CheckOptions {
  std::optional<std::filesystem::path> folder;  // --data
  std::size_t examples = 10;                    // faults and pairs listed for each finding
};

// Where an evaluation would take a task's data from (find_task_data, tasks/dataset.h), and its
// train file beside it. An absent evaluation file is an error when `required`.
// Fails: Error only for what keeps the check from being made (a file that cannot be opened).
TaskCheck check_task_data(const Task& task, const CheckOptions& options, bool required);

}  // namespace qx
