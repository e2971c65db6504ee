// RUNS/NAME: run.json (what the run is), one answer log per task, results.json. Answers of different runs
// never mix.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "runs/answer_log.h"

namespace qx {

enum class OpenRun { kNewOrContinue, kContinueOnly, kStartOver };

// How a message calls the two sides of a difference.
struct RunNames {
  std::string wanted = "this command", found = "the folder";
};

// The first difference of "model" in two run.json: the stored tensors (plan_hash) or the SHA-256 of
// a file; "" when there is none. Paths do not count.
std::string first_model_difference(const Json& found, const Json& wanted, const RunNames& names);

// What distinguishes the conditions of two runs in run.json: model files, prompts, arithmetic, the way items
// are selected, the data of the tasks that both have. The first difference in words, "" when there is none:
// "precision: this command has "fast", the folder has "exact"". The paths of model and data, the machine and
// the times may differ, and a limit or sample may be larger.
std::string first_condition_difference(const Json& found, const Json& wanted,
                                       const RunNames& names);
// The same, and the shard, and whether every item of `found` is one of `wanted`: "" when `wanted` may
// continue `found`. Tasks and items may be added. Fails: Error for a run.json that parse_run_record()
// refuses.
std::string first_run_difference(const Json& found, const Json& wanted);

// Owns the folder: a lock keeps other processes out while it lives.
class RunFolder {
 public:
  // wanted: the run.json of the run to be (see run_json in eval/model_run.h), without its times. Writes
  // run.json. kStartOver empties a run folder first, and touches nothing that qx did not write;
  // measurements (runs/measurements.h) of the same model stay.
  // Fails: Error when the folder holds another run, or something else; or is in use.
  RunFolder(std::filesystem::path folder, Json wanted, OpenRun how);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  std::filesystem::path answers_file(std::string_view task) const;
  std::filesystem::path prompts_file(std::string_view task) const;
  // Writes results.json, in which the entries of finished tasks that `results` lacks stay, and
  // run.json: with the time of the end when every item of every task is answered. results: objects
  // by task under each key, of tasks that are.
  void finish(const Json& results);

 private:
  void lock();
  void open(Json wanted, OpenRun how);
  void remove_own_files(const Json& wanted) const;
  // Of run.json, but those in `finished`.
  std::vector<std::string> unfinished_tasks(const Json& finished) const;
  void write_run_json() const;

  std::filesystem::path folder_;
  Json run_;
  int lock_fd_ = -1;
};

// Whether a process holds the lock of a run folder at this moment. Fails: Error.
bool is_being_written(const std::filesystem::path& folder);

}  // namespace qx
