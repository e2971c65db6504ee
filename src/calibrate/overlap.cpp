// SPDX-License-Identifier: Apache-2.0
#include "calibrate/overlap.h"

#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/json.h"

namespace qx {
namespace {

void append_strings(const Json& value, std::string& out) {
  if (value.is_string()) {
    out += value.get_ref<const std::string&>();
    out += '\n';
  } else if (value.is_structured()) {
    for (const Json& member : value) append_strings(member, out);
  }
}

}  // namespace

TaskOverlap overlap_of_rows(const NgramSketch& sketch, std::string task, std::string file,
                            std::string_view rows) {
  TaskOverlap out{.task = std::move(task), .file = std::move(file)};
  for (const std::string_view row : split_rows(rows)) {
    ++out.items;
    const Json json = Json::parse(row, nullptr, false);
    std::string text;
    append_strings(json, text);
    if (ngram_hashes(text).empty()) continue;
    ++out.judged;
    if (sketch.overlap(text).shared > 0) ++out.shared;
  }
  return out;
}

std::vector<TaskOverlap> task_overlaps(const NgramSketch& sketch,
                                       std::span<const Task* const> tasks,
                                       const std::optional<std::filesystem::path>& data_directory) {
  std::vector<TaskOverlap> out;
  for (const Task* task : tasks) {
    const DataPlace place = find_task_data(*task, data_directory);
    std::error_code error;
    if (place.file.empty()) {
      const std::string_view shipped = shipped_task_text(task->name);
      if (shipped.empty()) continue;
      out.push_back(overlap_of_rows(sketch, task->name, task->name + ".jsonl", shipped));
    } else if (std::filesystem::is_regular_file(place.file, error)) {
      const MappedFile file(place.file);
      out.push_back(overlap_of_rows(sketch, task->name, place.file.string(), file.text()));
    }
  }
  return out;
}

std::string overlap_text(const TaskOverlap& o) {
  if (o.shared == 0) return "";
  return fmt::format(
      "of {} items of {} ({}), {} share{} a run of {} words with the calibration text", o.judged,
      o.task, o.file, o.shared, o.shared == 1 ? "s" : "", kNgramWords);
}

}  // namespace qx
