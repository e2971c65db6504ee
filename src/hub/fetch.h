// Task data from the Hub into a folder: page by page, resumable, whole files or none.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "hub/rows_client.h"
#include "hub/sources.h"
#include "tasks/task.h"

namespace qx {

// One file to have: TASK.jsonl or TASK.train.jsonl.
struct WantedFile {
  const Task* task = nullptr;
  std::string name;
  DataSource source;  // rows 0: the published size is not known
};

// The evaluation sets of all tasks first, then their train splits. Fails: UsageError for a task
// whose description names no data set of the Hub.
std::vector<WantedFile> wanted_files(const std::vector<const Task*>& tasks, bool with_train);

struct FetchOptions {
  std::filesystem::path folder;
  bool force = false;        // replace files that are there
  bool accept_size = false;  // take a split that has another size than published
  // Rows that were just got (or found from an earlier run), for a progress bar.
  std::function<void(std::int64_t rows, const WantedFile& file)> progress;
  std::function<void(const std::string&)> notice;
  std::function<std::string()> utc_now;  // for the record
};

enum class FetchStatus { kFetched, kKept, kKeptUnrecorded };

struct FetchedFile {
  std::string name, task;
  FetchStatus status = FetchStatus::kFetched;
  std::int64_t rows = 0, bytes = 0;
  std::int64_t resumed_rows = 0;  // of rows: from an earlier run that was stopped
  std::string sha256, revision;
};

// Gets what is missing. A file that is there is kept when it is as recorded in sources.json, or is
// recorded nowhere but readable and of the published size; else it is an error before anything is
// fetched, unless `force`. Every row is read with the task's own reader before it counts. Pages lie
// in .NAME.qx-fetch beside the target until the file is whole; a later run takes those that are
// intact and of the same revision. The folder is locked: a second process is told and stops.
// The bytes of a file depend on the rows alone, not on pages, retries or resumption.
// Fails: Error. Throws Interrupted; what was got until then is kept.
std::vector<FetchedFile> fetch_files(const std::vector<WantedFile>& files, RowsClient& client,
                                     const FetchOptions& options);

}  // namespace qx
