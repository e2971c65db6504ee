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

// What distinguishes two runs in run.json, or "" when `wanted` may continue `found`. The first difference
// in words: "precision: this command has "fast", the folder has "exact"". Tasks and items may be added
// (a larger limit, or sample of the same seed); the paths of model and data, the machine and the times may differ.
std::string first_run_difference(const Json& found, const Json& wanted);

// Owns the folder: a lock keeps other processes out while it lives.
class RunFolder {
 public:
  // wanted: the run.json of the run to be (see run_json in eval/model_run.h), without its times. Writes
  // run.json. kStartOver empties a run folder first, and touches nothing that qx did not write.
  // Fails: Error when the folder holds another run, or something else; or is in use.
  RunFolder(std::filesystem::path folder, Json wanted, OpenRun how);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  std::filesystem::path answers_file(std::string_view task) const;
  std::filesystem::path prompts_file(std::string_view task) const;
  // Writes results.json, in which the entries of tasks that `results` lacks stay, and run.json with the
  // time of the end. results: objects by task under each key.
  void finish(const Json& results);

 private:
  void lock();
  void open(Json wanted, OpenRun how);
  void remove_own_files() const;
  void write_run_json() const;

  std::filesystem::path folder_;
  Json run_;
  int lock_fd_ = -1;
};

// The time now in UTC: "2026-01-31T12:00:00Z".
std::string utc_now();

}  // namespace qx
