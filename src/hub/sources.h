// sources.json: what the files of a folder of task data were fetched from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "io/json.h"

namespace qx {

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
