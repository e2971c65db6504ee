// Finding and reading run folders.
// SPDX-License-Identifier: Apache-2.0
#include "runs/run_list.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/error.h"
#include "runs/answer_log.h"
#include "runs/measurements.h"
#include "runs/run_folder.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr int kMaxDepth = 16;
// Runs that differ in one of these do not answer the same questions in the same way.
constexpr const char* kConditions[] = {"mode",          "convention",         "few_shot",
                                       "few_shot_seed", "few_shot_multiturn", "precision",
                                       "kv_bits"};

void find_folders(const fs::path& folder, int depth, std::vector<fs::path>& found,
                  std::vector<BrokenRun>& broken) {
  std::error_code error;
  if (fs::exists(folder / "run.json", error)) {
    found.push_back(folder);
    return;
  }
  if (depth == kMaxDepth) return;
  std::vector<fs::path> below;
  for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::end(entry);
       entry.increment(error)) {
    const bool hidden = entry->path().filename().string().starts_with('.');
    std::error_code ignored;
    if (!hidden && entry->symlink_status(ignored).type() == fs::file_type::directory) {
      below.push_back(entry->path());
    }
  }
  if (error) broken.push_back({folder, fmt::format("cannot be read: {}", error.message())});
  std::sort(below.begin(), below.end());
  for (const fs::path& path : below) find_folders(path, depth + 1, found, broken);
}

TaskProgress read_progress(const fs::path& file, const TaskRecord& record) {
  TaskProgress progress;
  progress.items = record.items.count();
  progress.per_item = record.per_item;
  if (!record.per_item) progress.answered = progress.items;  // an import of accuracies
  if (!fs::exists(file)) return progress;
  std::set<std::int64_t> seen;
  for (const Answer& answer : read_answers(file)) {
    if (!record.items.contains(answer.index) || !seen.insert(answer.index).second) {
      fail(file.string(), "item {} is answered twice or is none of this run", answer.index);
    }
    progress.right += answer.acc;
    if (answer.acc_norm) progress.right_norm = progress.right_norm.value_or(0) + *answer.acc_norm;
  }
  progress.answered = static_cast<std::int64_t>(seen.size());
  return progress;
}

void find_measurements(RunEntry& entry) {
  const auto find = [&entry](const char* name, auto load) {
    try {
      if (load(entry.folder)) entry.measurements.emplace_back(name);
    } catch (const Error& e) {
      entry.odd_measurements.emplace_back(e.what());
    }
  };
  find(kSpeedFile, load_speed);
  find(kDistanceFile, load_distance);
}

RunEntry read_entry(const fs::path& folder) {
  RunEntry entry{folder, read_run_record(folder), RunState::kInterrupted, {}, {}, {}, 0};
  find_measurements(entry);
  bool complete = entry.run.ended;
  for (const auto& [task, record] : entry.run.tasks) {
    TaskProgress& progress = entry.tasks[task];
    progress = read_progress(folder / fmt::format("answers-{}.jsonl", task), record);
    complete = complete && progress.answered == progress.items;
  }
  if (complete) entry.state = RunState::kFinished;
  if (is_being_written(folder)) entry.state = RunState::kRunning;
  return entry;
}

std::string conditions_of(const RunEntry& entry) {
  Json key = Json::array();
  for (const char* name : kConditions) key.push_back(json_member(entry.run.json, name));
  for (const auto& [task, record] : entry.run.tasks) {
    key.push_back(Json::array({task, record.data_hash, record.items.hash()}));
  }
  return key.dump();
}

// Whether it is known what was asked, and how: not of every imported run.
bool has_known_conditions(const RunEntry& entry) {
  return !json_member(entry.run.json, "mode").is_null() &&
         std::none_of(entry.run.tasks.begin(), entry.run.tasks.end(),
                      [](const auto& task) { return task.second.data_hash.empty(); });
}

void number_groups(std::vector<RunEntry>& runs) {
  std::map<std::string, std::size_t> groups;
  for (RunEntry& entry : runs) {
    std::string key = conditions_of(entry);
    if (!has_known_conditions(entry)) key += entry.folder.string();  // a group of its own
    entry.group = groups.try_emplace(std::move(key), groups.size()).first->second;
  }
}

bool same_run(const RunEntry& a, const RunEntry& b) {
  return a.run.shard.count == b.run.shard.count &&
         first_condition_difference(a.run.json, b.run.json, {}).empty() &&
         std::equal(a.run.tasks.begin(), a.run.tasks.end(), b.run.tasks.begin(), b.run.tasks.end(),
                    [](const auto& x, const auto& y) {
                      return x.first == y.first && x.second.of_items_hash == y.second.of_items_hash;
                    });
}

std::vector<ShardSet> find_shards(const std::vector<RunEntry>& runs) {
  std::vector<ShardSet> sets;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (runs[r].run.shard.count == 1) continue;
    auto set = std::find_if(sets.begin(), sets.end(), [&](const ShardSet& s) {
      return same_run(runs[s.runs.front()], runs[r]);
    });
    if (set == sets.end()) set = sets.insert(sets.end(), {{}, {}, runs[r].run.shard.count});
    set->runs.push_back(r);
  }
  for (ShardSet& set : sets) {
    const auto shard = [&](std::size_t r) { return runs[r].run.shard.index; };
    std::stable_sort(set.runs.begin(), set.runs.end(),
                     [&](std::size_t a, std::size_t b) { return shard(a) < shard(b); });
    std::set<std::int64_t> present;
    for (const std::size_t r : set.runs) present.insert(shard(r));
    for (std::int64_t i = 1; i <= set.count; ++i) {
      if (!present.contains(i)) set.missing.push_back(i);
    }
  }
  return sets;
}

std::string group_name(std::size_t group) {
  std::string name(1, static_cast<char>('A' + group % 26));
  return group < 26 ? name : name + std::to_string(group / 26);
}

std::string text_of(const Json& run, std::string_view key) {
  const Json value = json_member(run, key);
  if (value.is_null()) return "-";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string bits_text(const Json& model) {
  const Json bits = json_member(model, "bits_per_weight");
  return bits.is_number() ? fmt::format("{:.3f} bits per weight", bits.get<double>())
                          : "bits per weight unknown";
}

std::string shard_text(const Shard& shard) {
  return shard.count > 1 ? fmt::format(", shard {}/{}", shard.index, shard.count) : "";
}

double share(std::int64_t right, std::int64_t n) {
  return static_cast<double>(right) / static_cast<double>(n);
}

std::string render_run(const RunEntry& entry) {
  const Json& run = entry.run.json;
  const Json model = json_member(run, "model");
  std::string text = fmt::format(
      "{}  {}, group {}{}\n  {}, {}\n  {}, {} convention, {}-shot, precision {}; {} to {}\n",
      entry.folder.string(), run_state_name(entry.state), group_name(entry.group),
      shard_text(entry.run.shard), text_of(model, "path"), bits_text(model), text_of(run, "mode"),
      text_of(run, "convention"), text_of(run, "few_shot"), text_of(run, "precision"),
      text_of(run, "start"), text_of(run, "end"));
  for (const auto& [task, p] : entry.tasks) {
    text += fmt::format("    {:<16} {:>6} of {:<6}", task, p.answered, p.items);
    if (p.per_item && p.answered > 0) {
      text += fmt::format("  acc {:.4f}", share(p.right, p.answered));
    } else if (!p.per_item) {
      text += "  accuracies only";
    }
    if (p.right_norm) text += fmt::format("  acc_norm {:.4f}", share(*p.right_norm, p.answered));
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  if (!entry.measurements.empty()) {
    text += fmt::format("    measured: {}\n", fmt::join(entry.measurements, ", "));
  }
  for (const std::string& odd : entry.odd_measurements) text += fmt::format("    {}\n", odd);
  return text;
}

std::map<std::size_t, std::vector<const RunEntry*>> by_group(const RunList& list) {
  std::map<std::size_t, std::vector<const RunEntry*>> groups;
  for (const RunEntry& entry : list.runs) groups[entry.group].push_back(&entry);
  return groups;
}

std::string folders_text(const std::vector<const RunEntry*>& entries) {
  std::string text;
  for (const RunEntry* entry : entries) text += " " + entry->folder.string();
  return text;
}

Json run_json(const RunEntry& entry) {
  Json json;
  json["folder"] = entry.folder.string();
  for (const char* key : {"name", "model", "mode", "convention", "few_shot", "precision", "kv_bits",
                          "selection", "start", "end"}) {
    json[key] = json_member(entry.run.json, key);
  }
  const Json model = json["model"];
  json["model"] = json_member(model, "path");
  json["bits_per_weight"] = json_member(model, "bits_per_weight");
  json["state"] = run_state_name(entry.state);
  json["group"] = group_name(entry.group);
  json["measurements"] = entry.measurements;
  if (!entry.odd_measurements.empty()) json["odd_measurements"] = entry.odd_measurements;
  json["tasks"] = Json::object();
  for (const auto& [task, p] : entry.tasks) {
    Json& t = json["tasks"][task];
    t["answered"] = p.answered;
    t["items"] = p.items;
    t["per_item"] = p.per_item;
    t["acc"] = p.per_item && p.answered > 0 ? Json(share(p.right, p.answered)) : Json();
    t["acc_norm"] = p.right_norm ? Json(share(*p.right_norm, p.answered)) : Json();
  }
  return json;
}

}  // namespace

const char* run_state_name(RunState state) {
  return state == RunState::kRunning    ? "running"
         : state == RunState::kFinished ? "finished"
                                        : "interrupted";
}

RunList list_runs(const fs::path& root) {
  std::error_code error;
  if (!fs::is_directory(root, error)) fail(root.string(), "no such folder, expected one with runs");
  RunList list;
  std::vector<fs::path> folders;
  find_folders(root, 0, folders, list.broken);
  for (const fs::path& folder : folders) {
    try {
      list.runs.push_back(read_entry(folder));
    } catch (const std::exception& e) {
      list.broken.push_back({folder, e.what()});
    }
  }
  number_groups(list.runs);
  list.shards = find_shards(list.runs);
  return list;
}

std::string render_run_list(const RunList& list) {
  std::string text;
  for (const RunEntry& entry : list.runs) text += render_run(entry);
  for (const BrokenRun& run : list.broken) {
    text += fmt::format("{}  broken: {}\n", run.folder.string(), run.error);
  }
  text += '\n';
  for (const auto& [group, entries] : by_group(list)) {
    if (entries.size() < 2) continue;
    text += fmt::format("group {}: the same items, the same conditions:\n  qx compare{}\n",
                        group_name(group), folders_text(entries));
  }
  for (const ShardSet& set : list.shards) {
    std::vector<const RunEntry*> entries;
    for (const std::size_t r : set.runs) entries.push_back(&list.runs[r]);
    text +=
        fmt::format("shards of one run, {} of {}", set.count - std::ssize(set.missing), set.count);
    if (!set.missing.empty()) {
      const auto shown = std::min<std::ptrdiff_t>(std::ssize(set.missing), 20);
      text += fmt::format("; missing {}{}",
                          fmt::join(set.missing.begin(), set.missing.begin() + shown, ", "),
                          shown < std::ssize(set.missing) ? ", .." : "");
    }
    text += fmt::format(":\n  qx merge-runs{} -o DIR\n", folders_text(entries));
  }
  return text;
}

Json run_list_json(const RunList& list) {
  Json json;
  json["runs"] = Json::array();
  for (const RunEntry& entry : list.runs) json["runs"].push_back(run_json(entry));
  json["broken"] = Json::array();
  for (const BrokenRun& run : list.broken) {
    json["broken"].push_back({{"folder", run.folder.string()}, {"error", run.error}});
  }
  json["groups"] = Json::array();
  for (const auto& [group, entries] : by_group(list)) {
    Json folders = Json::array();
    for (const RunEntry* entry : entries) folders.push_back(entry->folder.string());
    json["groups"].push_back({{"group", group_name(group)}, {"runs", folders}});
  }
  json["shards"] = Json::array();
  for (const ShardSet& set : list.shards) {
    Json folders = Json::array();
    for (const std::size_t r : set.runs) folders.push_back(list.runs[r].folder.string());
    json["shards"].push_back({{"of", set.count}, {"runs", folders}, {"missing", set.missing}});
  }
  return json;
}

}  // namespace qx
