// Finding and reading task data.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/dataset.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "embedded_tasks.h"
#include "tasks/index_set.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// Value of an environment variable; empty counts as not set.
std::optional<fs::path> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return fs::path(value);
}

TaskData read_file(const Task& task, const fs::path& file, std::string origin,
                   const Selection& selection) {
  const MappedFile map(file);
  TaskData data = parse_task_data(task, map.text(), file.string(), selection);
  data.origin = std::move(origin);
  return data;
}

}  // namespace

std::vector<std::string_view> split_rows(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  const auto is_blank = [](std::string_view line) {
    return line.find_first_not_of(" \t\r") == std::string_view::npos;
  };
  while (!lines.empty() && is_blank(lines.back())) lines.pop_back();
  return lines;
}

fs::path cache_directory() {
  if (const auto path = environment("QX_CACHE")) return *path;
  if (const auto path = environment("XDG_CACHE_HOME")) return *path / "qx";
  if (const auto path = environment("HOME")) return *path / ".cache" / "qx";
  return {};
}

std::string_view shipped_task_text(std::string_view task) {
  const std::string name = std::string(task) + ".jsonl";
  for (const auto& [file, text] : embedded_tasks()) {
    if (file == name) return text;
  }
  return {};
}

std::string recorded_data_text(const std::string& origin, const std::string& file) {
  if (origin != "shipped") return std::string(MappedFile(file).text());
  for (const auto& [name, text] : embedded_tasks()) {
    if (name == file) return std::string(text);
  }
  fail(file, "is no task file that ships inside the program");
}

TaskData parse_task_data(const Task& task, std::string_view text, std::string file,
                         const Selection& selection) {
  const std::vector<std::string_view> lines = split_rows(text);
  TaskData data;
  data.task = &task;
  data.rows = static_cast<std::int64_t>(lines.size());
  const auto read_row = [&](std::int64_t row) {
    DataItem item;
    item.index = row;
    item.place = fmt::format("{}:{}", file, row + 1);
    const Json json = parse_json(lines[static_cast<std::size_t>(row)], item.place);
    item.item = task.read_item(json, item.place);
    item.doc_hash = document_hash(json);
    return item;
  };
  SelectedRows rows = select_rows(selection, task.name, file, data.rows,
                                  [&](std::int64_t row) { return read_row(row).item.gold; });
  for (const std::int64_t row : rows.shard) data.items.push_back(read_row(row));
  data.selected = std::move(rows.all);
  data.hash = sha256_hex(text);
  data.file = std::move(file);
  return data;
}

DataPlace find_task_data(const Task& task, const std::optional<fs::path>& data_directory) {
  const std::string name = task.name + ".jsonl";
  // Empty for a shipped task. A task of one's own is not expected among the data sets of the others.
  const fs::path beside = task.shipped() ? fs::path() : task.file.parent_path() / name;
  const bool own = !beside.empty() && fs::exists(beside);
  const auto environment_directory = environment("QX_DATA");
  for (const auto& [directory, origin] :
       {std::pair(data_directory, "--data"), std::pair(environment_directory, "$QX_DATA")}) {
    if (!directory) continue;
    if (own && !fs::exists(*directory / name)) break;
    return {*directory / name, origin};
  }
  if (own) return {beside, "beside the description"};
  const fs::path cache = cache_directory();
  if (!cache.empty() && fs::exists(cache / "tasks" / name))
    return {cache / "tasks" / name, "cache"};
  return {{}, shipped_task_text(task.name).empty() ? "" : "shipped"};
}

TaskData load_task_data(const Task& task, const std::optional<fs::path>& data_directory,
                        const Selection& selection) {
  const DataPlace place = find_task_data(task, data_directory);
  const std::string name = task.name + ".jsonl";
  if (!place.file.empty()) return read_file(task, place.file, place.origin, selection);
  if (place.origin.empty()) {
    fail(name, "no data for this task; name a folder that holds it with --data DIR{}",
         task.shipped() ? "" : ", or put it beside the description");
  }
  TaskData data = parse_task_data(task, shipped_task_text(task.name), name, selection);
  data.origin = place.origin;
  return data;
}

void put_items(Json& task_of_run, const TaskData& data, const Shard& shard) {
  std::vector<std::int64_t> rows;
  for (const DataItem& item : data.items) rows.push_back(item.index);
  const IndexSet own(rows), all(data.selected);
  task_of_run["items"] = own.count();
  task_of_run["indices"] = own.text();
  task_of_run["items_hash"] = own.hash();
  if (shard.count == 1) return;
  task_of_run["of_items"] = all.count();
  task_of_run["of_items_hash"] = all.hash();
}

}  // namespace qx
