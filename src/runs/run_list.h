// What run folders lie below a folder, how far they are, and which belong together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "runs/run_record.h"

namespace qx {

struct TaskProgress {
  std::int64_t answered = 0, items = 0;
  std::int64_t right = 0;                  // by acc
  std::optional<std::int64_t> right_norm;  // by acc_norm, where the task has it
  bool per_item = true;  // false: an import of accuracies, which counts as answered
};

enum class RunState { kRunning, kFinished, kInterrupted };
const char* run_state_name(RunState state);  // "running", "finished", "interrupted"

struct RunEntry {
  std::filesystem::path folder;
  RunRecord run;
  RunState state = RunState::kInterrupted;
  std::map<std::string, TaskProgress> tasks;
  std::vector<std::string>
      measurements;  // files beside it that are of its model (runs/measurements.h)
  std::vector<std::string> odd_measurements;  // what is wrong with others
  std::size_t group = 0;  // equal numbers: the same items under the same conditions, so comparable
};

struct BrokenRun {
  std::filesystem::path folder;
  std::string error;
};

// Shards of one run: qx merge-runs joins them.
struct ShardSet {
  std::vector<std::size_t> runs;  // positions in RunList::runs, rising by shard
  std::vector<std::int64_t> missing;
  std::int64_t count = 0;
};

struct RunList {
  std::vector<RunEntry> runs;  // by path
  std::vector<BrokenRun> broken;
  std::vector<ShardSet> shards;
};

// A folder that holds run.json is a run; what lies in it is not looked at further, nor are hidden folders and
// symbolic links. A run that cannot be read is broken, not an error. running: a process holds its lock;
// finished: its command came to its end and every item is answered.
// Fails: Error when `root` is no folder.
RunList list_runs(const std::filesystem::path& root);

std::string render_run_list(const RunList& list);
Json run_list_json(const RunList& list);

}  // namespace qx
