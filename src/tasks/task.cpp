// The registry of tasks and what their readers share.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/task.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"

namespace qx {
namespace {

constexpr Task kTasks[] = {
    {"arc_challenge", 1.0, true, read_arc},      {"arc_easy", 1.0, true, read_arc},
    {"boolq", 2.0, false, read_boolq},           {"hellaswag", 1.0, true, read_hellaswag},
    {"openbookqa", 1.0, true, read_openbookqa},  {"piqa", 1.0, true, read_piqa},
    {"winogrande", 1.0, false, read_winogrande},
};

}  // namespace

std::span<const Task> all_tasks() {
  return kTasks;
}

const Task* find_task(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTasks), std::end(kTasks),
                                   [name](const Task& t) { return t.name == name; });
  return found == std::end(kTasks) ? nullptr : found;
}

std::vector<const Task*> parse_task_list(std::string_view list) {
  std::vector<const Task*> tasks;
  const auto add = [&tasks](const Task* task) {
    if (std::find(tasks.begin(), tasks.end(), task) == tasks.end()) tasks.push_back(task);
  };
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view name = list.substr(begin, end - begin);
    begin = end + 1;
    if (name == "all") {
      for (const Task& task : kTasks) add(&task);
      continue;
    }
    const Task* task = find_task(name);
    if (task == nullptr) {
      std::string known = "all";
      for (const Task& t : kTasks) known += ", " + std::string(t.name);
      throw UsageError(fmt::format("--tasks: got '{}', expected some of {}", name, known));
    }
    add(task);
  }
  return tasks;
}

std::string document_hash(const Json& row) {
  return sha256_hex(dump_json(row, 2, false, false));
}

const Json& row_field(const Json& row, std::string_view key, std::string_view place) {
  if (!row.is_object()) fail(place, "got {}, expected a JSON object", row.type_name());
  const auto found = row.find(std::string(key));
  if (found == row.end()) fail(place, "field '{}' is missing", key);
  return *found;
}

std::string row_string(const Json& row, std::string_view key, std::string_view place) {
  const Json& value = row_field(row, key, place);
  if (!value.is_string()) {
    fail(place, "field '{}': got {}, expected a string", key, value.type_name());
  }
  return value.get<std::string>();
}

std::int64_t row_int(const Json& row, std::string_view key, std::string_view place) {
  const Json& value = row_field(row, key, place);
  const bool too_large = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX;
  if (!value.is_number_integer() || too_large) {
    fail(place, "field '{}': got {}, expected an integer", key, value.dump());
  }
  return value.get<std::int64_t>();
}

std::vector<std::string> row_strings(const Json& row, std::string_view key,
                                     std::string_view place) {
  const Json& value = row_field(row, key, place);
  if (!value.is_array()) {
    fail(place, "field '{}': got {}, expected an array of strings", key, value.type_name());
  }
  std::vector<std::string> strings;
  for (const Json& element : value) {
    if (!element.is_string()) {
      fail(place, "field '{}': got {} at index {}, expected a string", key, element.type_name(),
           strings.size());
    }
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

int checked_gold(std::int64_t gold, std::size_t choices, std::string_view place) {
  if (gold < 0 || gold >= static_cast<std::int64_t>(choices)) {
    fail(place, "gold answer: got index {}, expected 0 to {}", gold,
         static_cast<std::int64_t>(choices) - 1);
  }
  return static_cast<int>(gold);
}

TaskItem labelled_choices_item(const Json& row, std::string context, std::string_view answer_label,
                               std::string_view place) {
  const Json& choices = row_field(row, "choices", place);
  const std::vector<std::string> labels = row_strings(choices, "label", place);
  TaskItem item;
  item.contexts.push_back(std::move(context));
  item.continuations = row_strings(choices, "text", place);
  if (item.continuations.size() < 2) {
    fail(place, "got {} choices, expected at least 2", item.continuations.size());
  }
  if (labels.size() != item.continuations.size()) {
    fail(place, "got {} labels, expected {}, one for each choice", labels.size(),
         item.continuations.size());
  }
  const auto found = std::find(labels.begin(), labels.end(), answer_label);
  if (found == labels.end()) {
    fail(place, "field 'answerKey': got '{}', expected one of the labels {}", answer_label,
         fmt::join(labels, " "));
  }
  item.gold = static_cast<int>(found - labels.begin());
  return item;
}

}  // namespace qx
