// Where each task's data lie on the Hub, and sources.json: what a folder's files were fetched from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "io/json.h"

namespace qx {

struct HubSplit {
  std::string_view dataset, config, split;
  std::int64_t rows = 0;  // as published
};

struct HubSource {
  std::string_view task;
  HubSplit evaluation;  // TASK.jsonl
  HubSplit train;       // TASK.train.jsonl: the pool of few-shot examples
};

// Of the tasks that lm-eval defines; a task of the user's own has none (null).
const HubSource* find_hub_source(std::string_view task);

// One file of a folder as it was fetched.
struct SourceRecord {
  std::string task, service, dataset, config, split;
  std::string revision;  // empty when the service did not say
  std::int64_t rows = 0, bytes = 0;
  std::string sha256;
  std::string fetched;  // UTC, "2026-01-31T23:59:59Z"
};

// sources.json in the folder. Read: empty when there is none. Fails: Error for anything else than
// what save wrote.
std::map<std::string, SourceRecord> load_source_records(const std::filesystem::path& folder);
// Replaces one file's record and keeps the others. Whole or not at all.
void save_source_record(const std::filesystem::path& folder, const std::string& file,
                        const SourceRecord& record);

}  // namespace qx
