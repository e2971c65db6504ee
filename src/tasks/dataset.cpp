// Finding and reading task data.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/dataset.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "embedded_tasks.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// Value of an environment variable; empty counts as not set.
std::optional<fs::path> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return fs::path(value);
}

std::vector<std::string_view> split_lines(std::string_view text) {
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

TaskData read_file(const Task& task, const fs::path& file, std::string origin,
                   const RowSelection& range) {
  const MappedFile map(file);
  TaskData data = parse_task_data(task, map.text(), file.string(), range);
  data.origin = std::move(origin);
  return data;
}

}  // namespace

fs::path cache_directory() {
  if (const auto path = environment("QX_CACHE")) return *path;
  if (const auto path = environment("XDG_CACHE_HOME")) return *path / "qx";
  if (const auto path = environment("HOME")) return *path / ".cache" / "qx";
  return {};
}

TaskData parse_task_data(const Task& task, std::string_view text, std::string file,
                         const RowSelection& range) {
  const std::vector<std::string_view> lines = split_lines(text);
  TaskData data;
  data.task = &task;
  data.rows = static_cast<std::int64_t>(lines.size());
  if (range.offset >= data.rows) {
    fail(file, "got --offset {}, expected less than its {} rows", range.offset, data.rows);
  }
  const std::int64_t left = data.rows - range.offset;
  const std::int64_t count = std::min(left, range.limit.value_or(left));
  for (std::int64_t row = range.offset; row < range.offset + count; ++row) {
    DataItem item;
    item.index = row;
    item.place = fmt::format("{}:{}", file, row + 1);
    const Json json = parse_json(lines[static_cast<std::size_t>(row)], item.place);
    item.item = task.read_item(json, item.place);
    item.doc_hash = document_hash(json);
    data.items.push_back(std::move(item));
  }
  data.hash = sha256_hex(text);
  data.file = std::move(file);
  return data;
}

TaskData load_task_data(const Task& task, const std::optional<fs::path>& data_directory,
                        const RowSelection& range) {
  const std::string name = std::string(task.name) + ".jsonl";
  if (data_directory) return read_file(task, *data_directory / name, "--data", range);
  if (const auto path = environment("QX_DATA"))
    return read_file(task, *path / name, "$QX_DATA", range);
  const fs::path cache = cache_directory();
  if (!cache.empty() && fs::exists(cache / "tasks" / name)) {
    return read_file(task, cache / "tasks" / name, "cache", range);
  }
  for (const auto& [file, text] : embedded_tasks()) {
    if (file != name) continue;
    TaskData data = parse_task_data(task, text, name, range);
    data.origin = "shipped";
    return data;
  }
  fail(name, "no data for this task; name a folder that holds it with --data DIR");
}

}  // namespace qx
