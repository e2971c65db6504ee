// SPDX-License-Identifier: Apache-2.0
#include "runs/run_record.h"

#include "base/error.h"

namespace qx {
namespace {

constexpr std::int64_t kMaxItems = 20'000'000;  // a thousand times the largest task; bounds memory

void require_object(const Json& value, std::string_view key, std::string_view place) {
  if (!value.is_object()) {
    fail(place, "key '{}': got {}, expected an object", key, value.type_name());
  }
}

// Versions that knew --offset and --limit only did not say "indices".
IndexSet items_of(const Json& task, const Json& selection, std::string_view place) {
  if (!json_member(task, "indices").is_null()) {
    return IndexSet::parse(json_string(task, "indices", place), place);
  }
  const std::int64_t offset = json_int_or(selection, "offset", 0, place);
  const std::int64_t items = json_int(task, "items", place);
  if (offset < 0 || items < 1 || items >= INT64_MAX - offset) {
    fail(place, "got {} items from row {} on, expected some", items, offset);
  }
  return IndexSet::parse(fmt::format("{}-{}", offset, offset + items - 1), place);
}

TaskRecord parse_task(const Json& task, const Json& selection, const std::string& place) {
  if (!task.is_object()) fail(place, "got {}, expected an object", task.type_name());
  TaskRecord record;
  record.items = items_of(task, selection, place);
  if (json_int(task, "items", place) != record.items.count()) {
    fail(place, "key 'items': got {}, expected {}, as many as 'indices' names",
         json_int(task, "items", place), record.items.count());
  }
  if (record.items.count() > kMaxItems) {
    fail(place, "got {} items, expected at most {}", record.items.count(), kMaxItems);
  }
  record.per_item = json_bool_or(task, "per_item", true, place);
  record.rows = json_int_or(task, "rows", 0, place);
  record.data_hash = json_string_or(task, "data_hash", "", place);
  record.of_items = json_int_or(task, "of_items", record.items.count(), place);
  record.of_items_hash = json_string_or(task, "of_items_hash", "", place);
  if (record.of_items < record.items.count()) {
    fail(place, "key 'of_items': got {}, expected at least {}", record.of_items,
         record.items.count());
  }
  return record;
}

}  // namespace

std::string run_name(const std::filesystem::path& folder) {
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(folder);
  return canonical.filename().empty() ? canonical.parent_path().filename().string()
                                      : canonical.filename().string();
}

Json run_selection(const Json& run) {
  Json selection = json_member(run, "selection");
  if (selection.is_object()) return selection;
  return Json{{"kind", "rows"}, {"offset", json_member(run, "offset")}};
}

RunRecord parse_run_record(Json json, std::string_view place) {
  if (!json.is_object()) fail(place, "got {}, expected a JSON object", json.type_name());
  RunRecord record;
  if (const Json& selection = json_member(json, "selection"); !selection.is_null()) {
    require_object(selection, "selection", place);
  }
  const Json selection = run_selection(json), tasks = json_member(json, "tasks");
  require_object(tasks, "tasks", place);
  for (const auto& [name, task] : tasks.items()) {
    record.tasks[name] = parse_task(task, selection, fmt::format("{}: task {}", place, name));
  }
  if (!json_member(selection, "shard").is_null()) {
    try {
      record.shard = parse_shard(json_string(selection, "shard", place));
    } catch (const UsageError& e) {
      fail(place, "key 'shard': {}", e.what());
    }
  }
  record.ended = !json_string_or(json, "end", "", place).empty();
  record.json = std::move(json);
  return record;
}

RunRecord read_run_record(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "run.json";
  return parse_run_record(read_json_file(file), file.string());
}

}  // namespace qx
