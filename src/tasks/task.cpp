// The shipped tasks, lists of tasks, and reading a row by a task's rules.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/task.h"

#include <algorithm>
#include <charconv>
#include <deque>
#include <mutex>

#include "base/error.h"
#include "base/hash.h"
#include "embedded_task_descriptions.h"
#include "tasks/python_text.h"
#include "tasks/task_rules.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

std::vector<Task> shipped_tasks() {
  std::vector<Task> tasks;
  for (const auto& [file, text] : embedded_task_descriptions()) {
    tasks.push_back(parse_task(text, file));
    tasks.back().file.clear();
  }
  std::sort(tasks.begin(), tasks.end(),
            [](const Task& a, const Task& b) { return a.name < b.name; });
  return tasks;
}

// Descriptions that were read stay, at the same address, until the program ends.
const Task* keep_task(Task task) {
  static std::mutex mutex;
  static std::deque<Task> kept;
  const std::scoped_lock lock(mutex);
  kept.push_back(std::move(task));
  return &kept.back();
}

bool is_same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return a == b || fs::equivalent(a, b, error);
}

std::int64_t read_index(const GoldRule& rule, const Json& row, std::string_view place) {
  const Json& value = rule.index.value(row, place);
  const std::string& name = rule.index.name();
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    const std::string_view digits = python_strip(text);
    std::int64_t number = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc{} || end != digits.data() + digits.size()) {
      fail(place, "field '{}': got '{}', expected the number of a choice", name, text);
    }
    return number;
  }
  const bool too_large = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX;
  if (!value.is_number_integer() || too_large) {
    fail(place, "field '{}': got {}, expected an integer", name,
         value.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 60));
  }
  return value.get<std::int64_t>();
}

int read_gold(const GoldRule& rule, const Json& row, const std::vector<std::string>& choices,
              std::string_view place) {
  const auto count = static_cast<std::int64_t>(choices.size());
  if (rule.kind == GoldRule::Kind::kFixed || rule.kind == GoldRule::Kind::kIndex) {
    const bool fixed = rule.kind == GoldRule::Kind::kFixed;
    const std::int64_t number = fixed ? rule.fixed : read_index(rule, row, place);
    if (number < rule.first || number >= rule.first + count) {
      fail(place, "gold answer: got index {}, expected {} to {}", number, rule.first,
           rule.first + count - 1);
    }
    return static_cast<int>(number - rule.first);
  }
  const std::string wanted = rule.text.render(row, place);
  const bool by_label = rule.kind == GoldRule::Kind::kLabel;
  const std::vector<std::string> labels = !by_label ? choices
                                          : rule.labels_field
                                              ? rule.labels_field->strings(row, place)
                                              : rule.labels;
  if (labels.size() != choices.size()) {
    fail(place, "got {} labels, expected {}, one for each choice", labels.size(), count);
  }
  const auto found = std::find(labels.begin(), labels.end(), wanted);
  if (found == labels.end()) {
    fail(place, "{}: got '{}', expected one of the {} {}", rule.text.what(), wanted,
         by_label ? "labels" : "choices", fmt::join(labels, by_label ? " " : ", "));
  }
  return static_cast<int>(found - labels.begin());
}

}  // namespace

std::span<const Task> all_tasks() {
  static const std::vector<Task> kTasks = shipped_tasks();
  return kTasks;
}

const Task* find_task(std::string_view name) {
  const std::span<const Task> tasks = all_tasks();
  const auto found =
      std::find_if(tasks.begin(), tasks.end(), [name](const Task& t) { return t.name == name; });
  return found == tasks.end() ? nullptr : &*found;
}

std::vector<std::string> Task::metrics() const {
  std::vector<std::string> names = {"acc"};
  if (has_acc_norm) names.emplace_back("acc_norm");
  return names;
}

TaskItem Task::read_item(const Json& row, std::string_view place) const {
  if (!row.is_object()) fail(place, "got {}, expected a JSON object", row.type_name());
  TaskItem item;
  if (rules->header) item.header = rules->header->render(row, place);
  for (const TextTemplate& context : rules->contexts) {
    item.contexts.push_back(context.render(row, place));
  }
  if (rules->continuation) {
    item.continuations.assign(item.contexts.size(), rules->continuation->render(row, place));
  } else if (rules->choices_field) {
    const std::string what = fmt::format("field '{}'", rules->choices_field->name());
    for (std::string& text : rules->choices_field->strings(row, place)) {
      item.continuations.push_back(
          apply_text_filters(rules->choices_filters, std::move(text), what, place));
    }
    if (item.continuations.size() < 2) {
      fail(place, "{}: got {} choices, expected at least 2", what, item.continuations.size());
    }
  } else {
    for (const TextTemplate& choice : rules->choices) {
      item.continuations.push_back(choice.render(row, place));
    }
  }
  if (rules->cluster) {
    constexpr std::size_t kDigits = 16;  // 64 bits: enough to tell the passages of a data set apart
    item.cluster = sha256_hex(rules->cluster->string(row, place)).substr(0, kDigits);
  }
  if (!cloze) item.gold = read_gold(rules->gold, row, item.continuations, place);
  return item;
}

std::vector<const Task*> parse_task_list(std::string_view list) {
  std::vector<const Task*> tasks;
  const auto add = [&tasks](const Task* task) {
    if (std::find(tasks.begin(), tasks.end(), task) == tasks.end()) tasks.push_back(task);
  };
  const auto add_file = [&](const fs::path& file) {
    for (const Task* task : tasks) {
      if (!task->shipped() && is_same_file(task->file, file)) return;
    }
    Task task = load_task(file);
    const auto same_name = [&task](const Task* other) { return other->name == task.name; };
    if (find_task(task.name) != nullptr || std::any_of(tasks.begin(), tasks.end(), same_name)) {
      throw UsageError(
          fmt::format("--tasks: {} describes a task named '{}', which is the name of "
                      "another; expected a name of its own",
                      file.string(), task.name));
    }
    add(keep_task(std::move(task)));
  };
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view name = list.substr(begin, end - begin);
    begin = end + 1;
    if (name.ends_with(".json")) {
      add_file(fs::path(name));
      continue;
    }
    if (name == "all") {
      for (const Task& task : all_tasks()) add(&task);
      continue;
    }
    const Task* task = find_task(name);
    if (task == nullptr) {
      std::string known = "all";
      for (const Task& t : all_tasks()) known += ", " + t.name;
      throw UsageError(fmt::format(
          "--tasks: got '{}', expected some of {}, or the path of a description (.json)", name,
          known));
    }
    add(task);
  }
  return tasks;
}

std::string document_hash(const Json& row) {
  return sha256_hex(dump_json(row, 2, false, false));
}

}  // namespace qx
