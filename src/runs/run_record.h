// What run.json says about a run, checked: it may come from another version, machine or hand.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "io/json.h"
#include "tasks/index_set.h"
#include "tasks/selection.h"

namespace qx {

struct TaskRecord {
  IndexSet items;             // rows of the data file
  std::int64_t rows = 0;      // of the whole data file; 0: not said
  std::string data_hash;      // "": not said
  std::int64_t of_items = 0;  // of all shards together; without shards, items.count()
  std::string of_items_hash;
  bool per_item = true;  // false: an import of accuracies, without answers
};

struct RunRecord {
  Json json;  // the file's content, an object
  std::map<std::string, TaskRecord> tasks;
  Shard shard;
  bool ended = false;  // the last command that wrote here left nothing unanswered
};

// place: of the file, for messages. Fails: Error "[place] key ..".
RunRecord parse_run_record(Json json, std::string_view place);
// Of folder/run.json. Fails: Error when it is missing, not JSON, or as above.
RunRecord read_run_record(const std::filesystem::path& folder);

// What a run is called: after its folder, whatever the path ends in.
std::string run_name(const std::filesystem::path& folder);
// "selection" as selection_json() writes it, also of a run of a version that knew --offset and --limit only.
Json run_selection(const Json& run);

}  // namespace qx
