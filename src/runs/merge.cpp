// Joining shards.
// SPDX-License-Identifier: Apache-2.0
#include "runs/merge.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/replaceable.h"
#include "io/staged.h"
#include "runs/answer_log.h"
#include "runs/measurements.h"
#include "runs/run_folder.h"
#include "stats/stats.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

struct Part {
  fs::path folder;
  RunRecord run;
  Json results;  // null: not finished
};

std::string shard_name(const Part& part) {
  return fmt::format("{}/{}", part.run.shard.index, part.run.shard.count);
}

Part read_part(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    fail(folder.string(), "no such folder, expected a run of qx eval --shard");
  }
  Part part{folder, read_run_record(folder), {}};
  if (is_being_written(folder)) fail(folder.string(), "is being written; wait for qx eval to end");
  if (part.run.shard.count == 1) {
    fail(folder.string(), "is no shard, expected a run of qx eval --shard i/n");
  }
  const fs::path results = folder / "results.json";
  if (part.run.ended && fs::exists(results)) {
    part.results = read_json_file(results);
    if (!part.results.is_object()) fail(results.string(), "expected a JSON object");
  }
  return part;
}

// Rising by shard. All are of the same run.
std::vector<Part> read_parts(const std::vector<fs::path>& folders) {
  std::vector<Part> parts;
  for (const fs::path& folder : folders) parts.push_back(read_part(folder));
  const Part& first = parts.front();
  for (const Part& part : parts) {
    std::string text = first_condition_difference(first.run.json, part.run.json,
                                                  {part.folder.string(), first.folder.string()});
    if (text.empty() && part.run.shard.count != first.run.shard.count) {
      text = fmt::format("it is shard {}, the other shard {}", shard_name(part), shard_name(first));
    }
    for (const auto& [task, record] : part.run.tasks) {
      const auto other = first.run.tasks.find(task);
      if (!text.empty()) break;
      if (other == first.run.tasks.end()) {
        text = fmt::format("task {} is in this folder only", task);
      } else if (other->second.of_items != record.of_items ||
                 other->second.of_items_hash != record.of_items_hash) {
        text = fmt::format("items of {}: {} in all, the other has {} in all or other ones", task,
                           record.of_items, other->second.of_items);
      }
    }
    if (text.empty() && part.run.tasks.size() != first.run.tasks.size()) {
      text = "it has fewer tasks";
    }
    if (text.empty()) continue;
    fail(part.folder.string(), "is of another run than {}. {}", first.folder.string(), text);
  }
  std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return a.run.shard.index < b.run.shard.index;
  });
  return parts;
}

struct JoinedTask {
  std::vector<Answer> answers;  // rising by index
  IndexSet items;               // of the shards that are there
};

// Errors that know of shared passages for a part of the items only would be wrong.
void require_one_kind(const std::vector<Answer>& answers, const std::string& task) {
  const auto lacks = [](const Answer& answer) { return answer.cluster.empty(); };
  const auto without = std::count_if(answers.begin(), answers.end(), lacks);
  if (without == 0 || without == std::ssize(answers)) return;
  const auto first = std::find_if(answers.begin(), answers.end(), lacks);
  fail(fmt::format("answers-{}.jsonl", task),
       "item {} does not say which passage it shares (key 'cluster') and other items do; give the "
       "older shards' commands once more, which adds it",
       first->index);
}

JoinedTask join_task(const std::vector<Part>& parts, const std::string& task) {
  struct Source {
    Answer answer;
    std::string line;
    fs::path file;
  };
  std::map<std::int64_t, Source> by_row;
  std::set<std::int64_t> asked;
  for (const Part& part : parts) {
    const IndexSet& items = part.run.tasks.at(task).items;
    const std::vector<std::int64_t> rows = items.first(SIZE_MAX);
    asked.insert(rows.begin(), rows.end());
    const fs::path file = part.folder / fmt::format("answers-{}.jsonl", task);
    if (!fs::exists(file)) continue;
    for (Answer& answer : read_answers(file)) {
      const std::int64_t row = answer.index;
      if (answer.task != task || !items.contains(row)) {
        fail(file.string(), "item {} of {} is not among the items of shard {}", row, answer.task,
             shard_name(part));
      }
      std::string line = answer_line(answer);
      const auto [found, is_new] = by_row.try_emplace(row, Source{answer, line, file});
      if (is_new || found->second.line == line) continue;
      fail(file.string(), "item {} has another answer than in {}, expected the same", row,
           found->second.file.string());
    }
  }
  JoinedTask joined;
  for (auto& [row, source] : by_row) joined.answers.push_back(std::move(source.answer));
  require_one_kind(joined.answers, task);
  const std::vector<std::int64_t> rows(asked.begin(), asked.end());
  joined.items = IndexSet(rows);
  return joined;
}

// The items of a shard that have no answer, in words; "" when there are none.
std::string missing_items(const Part& part, const std::string& task, const JoinedTask& joined) {
  std::set<std::int64_t> answered;
  for (const Answer& answer : joined.answers) answered.insert(answer.index);
  std::vector<std::int64_t> missing;
  for (const std::int64_t row : part.run.tasks.at(task).items.first(SIZE_MAX)) {
    if (!answered.contains(row)) missing.push_back(row);
  }
  if (missing.empty()) return "";
  const std::size_t shown = std::min<std::size_t>(missing.size(), 10);
  return fmt::format(
      "{}: {} of {} items of shard {} ({}): {}{}", task, missing.size(),
      part.run.tasks.at(task).items.count(), shard_name(part), part.folder.string(),
      fmt::join(missing.begin(), missing.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
      shown < missing.size() ? ", .." : "");
}

std::vector<std::string> find_missing(const std::vector<Part>& parts,
                                      const std::map<std::string, JoinedTask>& joined) {
  std::vector<std::string> missing;
  std::set<std::int64_t> present, finished;
  for (const Part& part : parts) {
    present.insert(part.run.shard.index);
    if (!part.results.is_null()) finished.insert(part.run.shard.index);
  }
  const std::int64_t count = parts.front().run.shard.count;
  for (std::int64_t index = 1; index <= count && missing.size() < 50; ++index) {
    if (!present.contains(index)) missing.push_back(fmt::format("shard {}/{}", index, count));
  }
  for (const Part& part : parts) {
    bool all_answered = true;
    for (const auto& [task, items] : joined) {
      std::string text = missing_items(part, task, items);
      all_answered = all_answered && text.empty();
      if (!text.empty()) missing.push_back(std::move(text));
    }
    if (all_answered && !finished.contains(part.run.shard.index)) {
      missing.push_back(fmt::format("the end of shard {} ({}): run its command once more",
                                    shard_name(part), part.folder.string()));
    }
  }
  return missing;
}

Json session_of(const Json& run) {
  Json session;
  for (const char* key : {"commit", "dirty", "compiler", "kernels", "threads"}) {
    session[key] = json_member(run, key);
  }
  return session;
}

// Builds and machines other than the first shard's.
Json other_sessions(const std::vector<Part>& parts) {
  const Json own = session_of(parts.front().run.json);
  Json others = Json::array();
  const auto add = [&](const Json& session) {
    if (session != own && std::find(others.begin(), others.end(), session) == others.end()) {
      others.push_back(session);
    }
  };
  for (const Part& part : parts) {
    add(session_of(part.run.json));
    const Json earlier = json_member(part.run.json, "earlier_sessions");
    if (!earlier.is_array()) continue;
    for (const Json& session : earlier) add(session);
  }
  return others;
}

Json merged_run(const std::vector<Part>& parts, const std::map<std::string, JoinedTask>& joined,
                const std::string& name, bool whole) {
  Json run = parts.front().run.json;
  run["name"] = name;
  run["selection"]["shard"] = nullptr;
  for (const auto& [task, items] : joined) {
    Json& entry = run["tasks"][task];
    entry["items"] = items.items.count();
    entry["indices"] = items.items.text();
    entry["items_hash"] = items.items.hash();
    entry.erase("of_items");
    entry.erase("of_items_hash");
  }
  std::string start, end;
  for (const Part& part : parts) {
    const std::string from = json_string_or(part.run.json, "start", "", part.folder.string());
    if (start.empty() || (!from.empty() && from < start)) start = from;
    end = std::max(end, json_string_or(part.run.json, "end", "", part.folder.string()));
  }
  run["start"] = start;
  run["end"] = whole ? Json(end) : Json();
  run["earlier_sessions"] = other_sessions(parts);
  return run;
}

std::int64_t count_right(const std::vector<Answer>& answers, const std::string& metric,
                         const std::string& place) {
  constexpr std::string_view kKnown[] = {"acc", "acc_norm", "acc_bytes", "acc_token"};
  if (std::find(std::begin(kKnown), std::end(kKnown), metric) == std::end(kKnown)) {
    fail(place, "got the metric '{}', expected one of {}", metric, fmt::join(kKnown, ", "));
  }
  return std::count_if(answers.begin(), answers.end(),
                       [&](const Answer& answer) { return is_right(answer, metric); });
}

// Metrics are recomputed from the answers; the other entries say the same in every shard.
Json merged_scores(Json entry, const std::vector<Answer>& answers, const std::string& place) {
  const std::string suffix = ",none", error_suffix = "_stderr,none";
  const auto n = static_cast<std::int64_t>(answers.size());
  const Json before = entry;
  for (const auto& [key, value] : before.items()) {
    if (key == "sample_len") entry[key] = n;
    if (!key.ends_with(suffix)) continue;
    const bool is_error = key.ends_with(error_suffix);
    const std::string metric =
        key.substr(0, key.size() - (is_error ? error_suffix : suffix).size());
    const std::int64_t right = count_right(answers, metric, place);
    if (!is_error) {
      entry[key] = static_cast<double>(right) / static_cast<double>(n);
    } else {
      entry[key] = n > 1 ? Json(accuracy_stderr(right, n)) : Json("N/A");
    }
  }
  return entry;
}

Json merged_results(const std::vector<Part>& parts,
                    const std::map<std::string, JoinedTask>& joined) {
  Json all = parts.front().results;
  for (auto& [section, tasks] : all.items()) tasks = Json::object();
  for (const auto& [task, items] : joined) {
    std::int64_t cut = 0;
    std::set<std::int64_t> counted;  // a shard may be given twice
    for (const Part& part : parts) {
      const bool again = !counted.insert(part.run.shard.index).second;
      const std::string place = (part.folder / "results.json").string();
      for (const auto& [section, tasks] : part.results.items()) {
        const Json value = json_member(tasks, task);
        if (value.is_null()) continue;
        if (section == "truncated_requests") {
          if (!again) cut += json_int(tasks, task, place);
          all[section][task] = cut;
        } else if (section == "results") {
          all[section][task] = merged_scores(value, items.answers, place);
        } else {
          all[section][task] = value;
        }
        if (section == "n-samples" && value.is_object()) {
          all[section][task]["effective"] = items.answers.size();
        }
      }
    }
  }
  return all;
}

// Lines of prompts-TASK.jsonl of all shards, by item; "" unless every shard with items has the file.
std::string merged_prompts(const std::vector<Part>& parts, const std::string& task) {
  std::map<std::int64_t, std::string> lines;
  for (const Part& part : parts) {
    const fs::path file = part.folder / fmt::format("prompts-{}.jsonl", task);
    if (!fs::exists(file)) return "";
    const MappedFile map(file);
    std::string_view text = map.text();
    for (std::int64_t number = 1; !text.empty(); ++number) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      const std::string place = fmt::format("{}:{}", file.string(), number);
      const Json line = parse_json(text.substr(0, end), place);
      lines[json_int(line, "index", place)] = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }
  std::string joined;
  for (const auto& [index, line] : lines) joined += line + '\n';
  return joined;
}

void write_json(const fs::path& file, const Json& json) {
  write_file_atomic(file, dump_json(json, 2, false, false) + "\n", true);
}

// Shards are of one model, so what was measured beside one of them holds for the whole.
void copy_measurements(const std::vector<Part>& parts, const fs::path& output) {
  for (const char* name : {kSpeedFile, kDistanceFile}) {
    for (const Part& part : parts) {
      if (!fs::is_regular_file(part.folder / name)) continue;
      write_file_atomic(output / name, MappedFile(part.folder / name).text(), true);
      break;
    }
  }
}

// --force replaces a run, and never what is being joined.
void check_replaceable(const fs::path& output, const std::vector<fs::path>& folders) {
  const fs::path target = fs::weakly_canonical(output);
  for (const fs::path& folder : folders) {
    const fs::path part = fs::weakly_canonical(folder);
    if (!is_within(target, part) && !is_within(part, target)) continue;
    fail(output.string(),
         "is, holds or lies in the shard {}, expected a folder apart from the shards",
         folder.string());
  }
  if (fs::is_directory(target) && fs::is_empty(target)) return;
  if (!fs::is_regular_file(target / "run.json")) {
    fail(output.string(), "holds no run.json, expected a run that --force may replace");
  }
}

}  // namespace

Merge merge_runs(const std::vector<fs::path>& folders, const fs::path& output, bool partial,
                 bool force) {
  QX_CHECK(!folders.empty());
  if (force && fs::exists(output)) check_replaceable(output, folders);
  const std::vector<Part> parts = read_parts(folders);
  std::map<std::string, JoinedTask> joined;
  for (const auto& [task, record] : parts.front().run.tasks) joined[task] = join_task(parts, task);
  Merge merge;
  merge.shards = parts.front().run.shard.count;
  merge.missing = find_missing(parts, joined);
  const bool whole = merge.missing.empty();
  if (!whole && !partial) {
    fail(folders.front().string(),
         "the run is not whole, expected all shards with all answers; this is missing:\n  {}\n"
         "--partial joins what there is, and qx eval without --shard can go on with it",
         fmt::join(merge.missing, "\n  "));
  }
  for (const auto& [task, items] : joined) {
    const TaskRecord& record = parts.front().run.tasks.at(task);
    merge.tasks.push_back({task, static_cast<std::int64_t>(items.answers.size()), record.of_items});
    if (whole && items.items.hash() != record.of_items_hash) {
      fail(folders.front().string(), "the shards' items of {} are not those of the whole run",
           task);
    }
  }
  StagedDirectory staged(output, force);
  for (const auto& [task, items] : joined) {
    std::string lines;
    for (const Answer& answer : items.answers) lines += answer_line(answer) + '\n';
    write_file_atomic(staged.path() / fmt::format("answers-{}.jsonl", task), lines, true);
    const std::string prompts = whole ? merged_prompts(parts, task) : "";
    if (prompts.empty()) continue;
    write_file_atomic(staged.path() / fmt::format("prompts-{}.jsonl", task), prompts, true);
  }
  if (whole) write_json(staged.path() / "results.json", merged_results(parts, joined));
  copy_measurements(parts, staged.path());
  fs::path name = fs::absolute(output).lexically_normal();
  if (!name.has_filename()) name = name.parent_path();
  write_json(staged.path() / "run.json",
             merged_run(parts, joined, name.filename().string(), whole));
  staged.commit();
  return merge;
}

}  // namespace qx
