// SPDX-License-Identifier: Apache-2.0
#include "compare/run_results.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "runs/answer_log.h"
#include "runs/choice_metric.h"
#include "runs/run_record.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// Scores made under different values of these answer different questions.
constexpr const char* kMustAgree[] = {"mode", "convention", "few_shot", "few_shot_seed",
                                      "few_shot_multiturn"};
// Scores made under different values of these may differ a little for that reason alone.
constexpr const char* kShouldAgree[] = {
    "template_hash", "template_variables", "max_length", "precision", "kv_bits", "version"};

bool is_imported(const Json& run) {
  return !json_member(run, "imported_from").is_null();
}

// An imported run may not know under which conditions it was made; null then means unknown.
bool is_unknown(const Json& run, const char* key) {
  return is_imported(run) && json_member(run, key).is_null();
}

// A run that does not say how many bits its keys and values had had 32.
Json setting(const Json& run, std::string_view key) {
  const Json& value = json_member(run, key);
  return key == "kv_bits" && value.is_null() && !is_imported(run) ? Json(32) : value;
}

ItemResult item_result(const Answer& answer, const std::string& metric) {
  ItemResult item{answer.index,
                  answer.doc_hash,
                  answer.gold,
                  0,
                  static_cast<int>(answer.choices.size()),
                  false,
                  0,
                  answer.cluster};
  item.chosen = static_cast<int>(picked_choice(answer.choices, metric));
  item.right = item.chosen == answer.gold;
  item.margin = gold_margin(answer.choices, answer.gold, *find_choice_metric(metric));
  return item;
}

std::string metric_of(const std::vector<Answer>& answers, Metric metric) {
  const bool has_norm = std::all_of(answers.begin(), answers.end(),
                                    [](const Answer& a) { return a.acc_norm.has_value(); });
  if (metric == Metric::kAcc || !has_norm) return "acc";
  if (metric == Metric::kAccToken) return "acc_token";
  return metric == Metric::kAccBytes ? "acc_bytes" : "acc_norm";
}

TaskResults load_task(const fs::path& file, const std::string& task, Metric metric) {
  std::vector<Answer> answers = read_answers(file);
  std::sort(answers.begin(), answers.end(),
            [](const Answer& a, const Answer& b) { return a.index < b.index; });
  TaskResults results{task, metric_of(answers, metric), {}};
  for (const Answer& answer : answers) {
    if (answer.task != task)
      fail(file.string(), "got an answer to '{}', expected '{}'", answer.task, task);
    if (!results.items.empty() && results.items.back().index == answer.index) {
      fail(file.string(), "item {} is answered twice, expected once", answer.index);
    }
    if (!has_choice_metric(answer.choices, *find_choice_metric(results.metric))) {
      fail(file.string(), "item {} does not say how many tokens were scored, which acc_token needs",
           answer.index);
    }
    results.items.push_back(item_result(answer, results.metric));
  }
  return results;
}

RunResults load_run(const fs::path& folder, const Json& run, Metric metric) {
  RunResults results;
  results.name = run_name(folder);
  results.folder = folder;
  results.speed = load_speed(folder);
  results.distance = load_distance(folder);
  if (const Json& model = json_member(run, "model"); model.is_object()) {
    const std::string place = (folder / "run.json").string();
    if (const Json& path = json_member(model, "path"); path.is_string()) {
      results.model_path = path.get<std::string>();
    }
    if (model.contains("tensor_bytes"))
      results.tensor_bytes = json_int(model, "tensor_bytes", place);
    if (model.contains("bits_per_weight")) {
      results.bits_per_weight = json_number(model, "bits_per_weight", place);
    }
  }
  const std::string prefix = "answers-", suffix = ".jsonl";
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    const std::string task =
        name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
    TaskResults answered = load_task(entry.path(), task, metric);
    if (!answered.items.empty()) results.tasks[task] = std::move(answered);
  }
  if (results.tasks.empty()) {
    fail(folder.string(), "holds no answers in answers-TASK.jsonl, expected a run of qx eval");
  }
  return results;
}

// Runs of versions that had no descriptions do not say.
bool is_shipped(const Json& task) {
  const Json& description = json_member(task, "description");
  return description.is_null() || description == "shipped";
}

// One task asked in two ways: by two descriptions of the user's own (of the shipped ones the
// version tells), or with examples from two files.
void check_tasks(const std::vector<fs::path>& folders, const std::vector<Json>& runs,
                 std::size_t before, std::size_t r) {
  const Json &first = runs[before], &other = runs[r];
  const Json &first_tasks = json_member(first, "tasks"), &other_tasks = json_member(other, "tasks");
  if (!first_tasks.is_object() || !other_tasks.is_object()) return;
  for (const auto& [name, task] : other_tasks.items()) {
    const Json& same = json_member(first_tasks, name);
    if (!same.is_object() || !task.is_object()) continue;
    const bool shipped = is_shipped(same) && is_shipped(task);
    for (const auto& [key, what] : {std::pair("description_hash", "description"),
                                    std::pair("examples_hash", "file of examples")}) {
      const bool matters = key != std::string_view("description_hash") || !shipped;
      // An imported run does not know it.
      const bool unknown = (is_imported(first) && json_member(same, key).is_null()) ||
                           (is_imported(other) && json_member(task, key).is_null());
      if (!matters || unknown || json_member(same, key) == json_member(task, key)) continue;
      fail(folders[r].string(),
           "{} was asked with another {} than in {}; such scores cannot be compared", name, what,
           folders[before].string());
    }
  }
}

// What a run does not know about itself, in one note.
void note_unknown(const fs::path& folder, const Json& run, std::vector<std::string>& notes) {
  std::string unknown;
  const auto add = [&](const char* key) {
    if (is_unknown(run, key)) unknown += (unknown.empty() ? "" : ", ") + std::string(key);
  };
  for (const char* key : kMustAgree) add(key);
  for (const char* key : kShouldAgree) add(key);
  if (unknown.empty()) return;
  notes.push_back(fmt::format(
      "{} is imported and does not say its {}: a difference of scores may come from that",
      folder.filename().string(), unknown));
}

// The first run that knows its `key`, before run `end`; nothing when none does.
std::optional<std::size_t> first_that_knows(const std::vector<Json>& runs, std::size_t end,
                                            const char* key) {
  for (std::size_t r = 0; r < end; ++r) {
    if (!is_unknown(runs[r], key)) return r;
  }
  return std::nullopt;
}

void check_conditions(const std::vector<fs::path>& folders, const std::vector<Json>& runs,
                      std::vector<std::string>& notes) {
  for (std::size_t r = 1; r < runs.size(); ++r) {
    for (const char* key : kMustAgree) {
      const auto known = first_that_knows(runs, r, key);
      if (!known || is_unknown(runs[r], key)) continue;
      const Json &first = json_member(runs[*known], key), &other = json_member(runs[r], key);
      if (first == other) continue;
      fail(folders[r].string(), "{} is {}, expected {} as in {}; such scores cannot be compared",
           key, other.dump(), first.dump(), folders[*known].string());
    }
    for (std::size_t before = 0; before < r; ++before) check_tasks(folders, runs, before, r);
    for (const char* key : kShouldAgree) {
      const auto known = first_that_knows(runs, r, key);
      if (!known || is_unknown(runs[r], key)) continue;
      if (setting(runs[*known], key) == setting(runs[r], key)) continue;
      notes.push_back(
          fmt::format("{} differs between {} and {}: a small difference of scores may come from "
                      "that",
                      key, folders[*known].filename().string(), folders[r].filename().string()));
    }
  }
  for (std::size_t r = 0; r < runs.size(); ++r) {
    note_unknown(folders[r], runs[r], notes);
    if (json_member(runs[r], "end").is_null()) {
      notes.push_back(fmt::format("{} is not finished: what it has so far is compared",
                                  folders[r].filename().string()));
    }
  }
}

// A task has one metric; runs that disagree were not made by the same rules.
void check_metrics(const std::vector<RunResults>& runs) {
  for (const RunResults& run : runs) {
    for (const auto& [task, results] : run.tasks) {
      const auto other = runs[0].tasks.find(task);
      if (other == runs[0].tasks.end() || other->second.metric == results.metric) continue;
      fail(task, "{} has {} and {} has {}, expected the same metric in every run", runs[0].name,
           other->second.metric, run.name, results.metric);
    }
  }
}

// How many items of a task run.json says the run is about; 0 when it does not say.
std::int64_t asked_items(const Json& run, const std::string& task) {
  const Json& tasks = json_member(run, "tasks");
  const auto entry = tasks.is_object() ? tasks.find(task) : tasks.end();
  if (entry == tasks.end() || !entry->is_object()) return 0;
  const Json& items = json_member(*entry, "items");
  return items.is_number_integer() ? items.get<std::int64_t>() : 0;
}

// The items of one task over all runs.
struct ItemSets {
  std::set<std::int64_t> common;  // rows that every run answered
  std::string counts;             // "base 300, q4 200 of 300 so far"
  bool equal = true;
  bool finished = true;
};

ItemSets item_sets(const std::vector<RunResults>& runs, const std::vector<Json>& jsons,
                   const std::string& task) {
  ItemSets sets;
  std::map<std::int64_t, std::size_t> times;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto found = runs[r].tasks.find(task);
    const std::size_t n = found == runs[r].tasks.end() ? 0 : found->second.items.size();
    const std::int64_t asked = asked_items(jsons[r], task);
    sets.counts += fmt::format("{}{} {}", r == 0 ? "" : ", ", runs[r].name, n);
    if (static_cast<std::int64_t>(n) < asked) {
      sets.counts += fmt::format(" of {} so far", asked);
      sets.finished = false;
    }
    for (std::size_t i = 0; i < n; ++i) ++times[found->second.items[i].index];
  }
  for (const auto& [row, count] : times) {
    if (count == runs.size()) sets.common.insert(row);
  }
  sets.equal = sets.common.size() == times.size();
  return sets;
}

// Tasks that every run has answered in part, or is to answer by its run.json.
std::set<std::string> tasks_of_all(const std::vector<RunResults>& runs,
                                   const std::vector<Json>& jsons) {
  std::set<std::string> all, common;
  for (const RunResults& run : runs) {
    for (const auto& [task, results] : run.tasks) all.insert(task);
  }
  for (const std::string& task : all) {
    bool everywhere = true;
    for (std::size_t r = 0; r < runs.size(); ++r) {
      everywhere = everywhere && (runs[r].tasks.contains(task) || asked_items(jsons[r], task) > 0);
    }
    if (everywhere) common.insert(task);
  }
  return common;
}

// Keeps the common items of a task; drops the task when there are none.
void keep_common(std::vector<RunResults>& runs, const std::string& task,
                 const std::set<std::int64_t>& common) {
  for (RunResults& run : runs) {
    const auto found = run.tasks.find(task);
    if (found == run.tasks.end()) continue;
    std::erase_if(found->second.items,
                  [&](const ItemResult& item) { return !common.contains(item.index); });
    if (found->second.items.empty()) run.tasks.erase(found);
  }
}

// Tasks of which an imported run has the accuracy and no answers: there is nothing to pair.
void leave_out_accuracies(LoadedRuns& loaded, const std::vector<Json>& jsons) {
  std::map<std::string, std::string> names;  // by task
  for (std::size_t r = 0; r < jsons.size(); ++r) {
    const Json& tasks = json_member(jsons[r], "tasks");
    if (!tasks.is_object()) continue;
    for (const auto& [task, entry] : tasks.items()) {
      if (loaded.runs[r].tasks.contains(task) || !entry.is_object()) continue;
      if (json_member(entry, "per_item") != false) continue;
      names[task] += (names[task].empty() ? "" : ", ") + loaded.runs[r].name;
    }
  }
  for (const auto& [task, which] : names) {
    for (RunResults& run : loaded.runs) run.tasks.erase(task);
    loaded.notes.push_back(
        fmt::format("{} is left out: only its accuracy is known of {}. An import of the results "
                    "file alone is compared with it, unpaired",
                    task, which));
  }
}

void require_same_items(LoadedRuns& loaded, const std::vector<Json>& jsons, bool intersect) {
  std::string differences;
  for (const std::string& task : tasks_of_all(loaded.runs, jsons)) {
    const ItemSets sets = item_sets(loaded.runs, jsons, task);
    if (sets.equal && !sets.finished) {
      loaded.notes.push_back(fmt::format("{} is not finished ({}): what is answered so far counts",
                                         task, sets.counts));
    }
    if (sets.equal) continue;
    differences += fmt::format("\n  {}: {}; {} in common", task, sets.counts, sets.common.size());
    if (!intersect) continue;
    keep_common(loaded.runs, task, sets.common);
    loaded.notes.push_back(
        sets.common.empty()
            ? fmt::format("{} is left out: the runs have no item of it in common ({})", task,
                          sets.counts)
            : fmt::format("{}: only the {} items that every run answered are compared ({})", task,
                          sets.common.size(), sets.counts));
  }
  if (differences.empty() || intersect) return;
  fail("items",
       "the runs answered different items, expected the same in each:{}\nCompare the common items "
       "with --intersect, or finish the runs with the same selection of items first.",
       differences);
}

Json read_run_json(const fs::path& folder) {
  if (!fs::is_directory(folder)) fail(folder.string(), "no such folder, expected a run of qx eval");
  if (!fs::exists(folder / "run.json")) {
    fail(folder.string(), "holds no run.json, expected a run of qx eval (RUNS/NAME)");
  }
  Json run = read_json_file(folder / "run.json");
  if (!run.is_object()) fail((folder / "run.json").string(), "expected a JSON object");
  return run;
}

}  // namespace

Metric parse_metric(const std::string& name) {
  if (name == "default") return Metric::kDefault;
  if (name == "acc") return Metric::kAcc;
  if (name == "acc_norm") return Metric::kAccNorm;
  if (name == "acc_bytes") return Metric::kAccBytes;
  if (name == "acc_token") return Metric::kAccToken;
  throw UsageError(fmt::format(
      "--metric: got '{}', expected default, acc, acc_norm, acc_bytes or acc_token", name));
}

LoadedRuns load_runs(const std::vector<fs::path>& folders, Metric metric, bool intersect,
                     const std::vector<fs::path>& accuracies) {
  LoadedRuns loaded;
  std::vector<Json> runs;
  for (const fs::path& folder : folders) {
    runs.push_back(read_run_json(folder));
    loaded.runs.push_back(load_run(folder, runs.back(), metric));
  }
  std::vector<fs::path> all = folders;
  std::vector<Json> conditions = runs;
  for (const fs::path& folder : accuracies) {
    all.push_back(folder);
    conditions.push_back(read_run_json(folder));
  }
  check_conditions(all, conditions, loaded.notes);
  leave_out_accuracies(loaded, runs);
  check_metrics(loaded.runs);
  require_same_items(loaded, runs, intersect);
  return loaded;
}

}  // namespace qx
