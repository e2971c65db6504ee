// Task data: which file is used, and its rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tasks/few_shot.h"
#include "tasks/selection.h"
#include "tasks/task.h"

namespace qx {

struct DataItem {
  std::int64_t index = 0;  // 0-based row in the file
  std::string place;       // "file:line"
  std::string doc_hash;
  TaskItem item;
  // Few-shot examples in the order in which they are shown, each with its gold answer; see draw_examples().
  std::vector<std::shared_ptr<const TaskItem>> examples;
};

struct TaskData {
  const Task* task = nullptr;
  std::string origin;                  // "--data", "$QX_DATA", "cache" or "shipped"
  std::string file;                    // path, or "TASK.jsonl" of the shipped set
  std::string hash;                    // SHA-256 of the file
  std::int64_t rows = 0;               // in the whole file
  std::vector<DataItem> items;         // those selected, rising by index; none for a small shard
  std::vector<std::int64_t> selected;  // rows of the items of all shards, rising
  FewShot few_shot;                    // shots == 0: asked without examples
  FewShotPool pool;
};

// Where a person's downloads and caches lie: $QX_CACHE, else $XDG_CACHE_HOME/qx, else ~/.cache/qx.
// Empty when none of these variables is set.
std::filesystem::path cache_directory();

// Where a task's data are.
struct DataPlace {
  std::filesystem::path file;  // empty for the shipped set
  std::string origin;          // as TaskData's; empty when there are none
};

// Takes TASK.jsonl from data_directory when given, else from $QX_DATA when set (a file missing there is an
// error in both cases), else from `tasks` in the cache directory when it is there, else the shipped file.
// For a task of the user's own the folder of its description is looked at before the cache, and when a named
// folder lacks the file. The file of a named folder may be missing.
DataPlace find_task_data(const Task& task,
                         const std::optional<std::filesystem::path>& data_directory);

// Reads what find_task_data finds.
// Fails: Error for a missing file, broken line or row ("[file:line] .."), or as select_rows. A
// sample reads every row.
TaskData load_task_data(const Task& task,
                        const std::optional<std::filesystem::path>& data_directory,
                        const Selection& selection);

// The rows of the small set that ships with the program; empty for a task that has none there.
std::string_view shipped_task_text(std::string_view task);

// The text of a data file that a run recorded, by TaskData's origin and file. Fails: Error when it is gone.
std::string recorded_data_text(const std::string& origin, const std::string& file);

// The same from text. file: for places.
TaskData parse_task_data(const Task& task, std::string_view text, std::string file,
                         const Selection& selection);

// What run.json says about the items of a task: "items", "indices" (IndexSet::text) and "items_hash"
// (IndexSet::hash); of a shard also "of_items" and "of_items_hash", those of all shards together.
void put_items(Json& task_of_run, const TaskData& data, const Shard& shard);

// Lines of a JSONL file, blank ones at its end left out.
std::vector<std::string_view> split_rows(std::string_view text);

}  // namespace qx
