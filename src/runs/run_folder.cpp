// Run folders.
// SPDX-License-Identifier: Apache-2.0
#include "runs/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <set>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/utc_time.h"
#include "io/posix_file.h"
#include "io/staged.h"
#include "runs/measurements.h"
#include "runs/run_record.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// In the order in which a difference is told. "model" and "tasks" have rules of their own.
constexpr const char* kIdentity[] = {
    "few_shot",      "few_shot_seed",      "few_shot_multiturn", "mode",      "convention",
    "template_hash", "template_variables", "max_length",         "precision", "kv_bits",
    "version"};
// Of "selection": a larger limit or sample contains the smaller one, so these are left out.
constexpr const char* kSelectionIdentity[] = {"kind", "offset", "seed"};

std::string shown(const Json& value) {
  return value.is_null() ? "none" : value.dump();
}

std::string difference(std::string_view what, const Json& found, const Json& wanted,
                       const RunNames& names) {
  if (found == wanted) return "";
  return fmt::format("{}: {} has {}, {} has {}", what, names.wanted, shown(wanted), names.found,
                     shown(found));
}

// Runs that do not say how many bits their keys and values had are of versions that knew 32 only.
Json identity(const Json& run, std::string_view key) {
  Json value = json_member(run, key);
  return key == "kv_bits" && value.is_null() ? Json(32) : value;
}

// Of the tasks that both have.
std::string data_difference(const Json& found, const Json& wanted, const RunNames& names) {
  const Json old_tasks = json_member(found, "tasks"), new_tasks = json_member(wanted, "tasks");
  for (const auto& [name, task] : new_tasks.items()) {
    const Json old = json_member(old_tasks, name);
    if (old.is_null()) continue;
    std::string text = difference("SHA-256 of the data of " + name, json_member(old, "data_hash"),
                                  json_member(task, "data_hash"), names);
    if (!text.empty()) return text;
    text = difference("SHA-256 of the examples of " + name, json_member(old, "examples_hash"),
                      json_member(task, "examples_hash"), names);
    // A shipped description is as good as the version, which has been compared.
    const Json now = json_member(task, "description");
    if (text.empty() && !now.is_null() && now != "shipped") {
      text =
          difference("SHA-256 of the description of " + name, json_member(old, "description_hash"),
                     json_member(task, "description_hash"), names);
    }
    if (!text.empty()) return text;
  }
  return "";
}

std::string items_difference(const RunRecord& found, const RunRecord& wanted) {
  for (const auto& [name, task] : wanted.tasks) {
    const auto old = found.tasks.find(name);
    if (old == found.tasks.end() || task.items.includes(old->second.items)) continue;
    return fmt::format(
        "items of {}: this command has {}, the folder has {} and not all of them are among these "
        "(items may be added, not taken away)",
        name, task.items.count(), old->second.items.count());
  }
  return "";
}

// Other builds or machines that gave answers to this folder before; equal ones are told once.
Json earlier_sessions(const Json& found, const Json& now) {
  Json earlier = json_member(found, "earlier_sessions");
  if (!earlier.is_array()) earlier = Json::array();
  Json last, current;
  for (const char* key : {"commit", "dirty", "compiler", "kernels", "threads"}) {
    last[key] = json_member(found, key);
    current[key] = json_member(now, key);
  }
  if (last != current && std::find(earlier.begin(), earlier.end(), last) == earlier.end()) {
    earlier.push_back(last);
  }
  return earlier;
}

bool is_measurement(const std::string& name) {
  return name == kSpeedFile || name == kDistanceFile;
}

// Hidden files do not count (a killed run may leave a temporary one), nor do the prompts of a dry
// run and what was measured of a model before it was asked anything.
bool holds_files(const fs::path& folder) {
  const fs::directory_iterator entries(folder);
  return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    return !name.starts_with('.') && !name.starts_with("prompts-") && !is_measurement(name);
  });
}

bool is_own_file(const std::string& name) {
  return name == "run.json" || name == "results.json" ||
         ((name.starts_with("answers-") || name.starts_with("prompts-") ||
           name.starts_with("samples_")) &&
          name.ends_with(".jsonl"));
}

// A measurement does not depend on the answers: it stays when a run starts over with the model that
// it is of.
bool is_of_model(const fs::path& measurement, const Json& run) {
  try {
    return measured_model_difference(read_json_file(measurement), run).empty();
  } catch (const Error&) {
    return false;
  }
}

// The order in which tasks were asked does not show, so that a run that grew equals one made at once.
Json sorted_by_key(const Json& object) {
  std::map<std::string, Json> sorted;
  for (const auto& [key, value] : object.items()) sorted[key] = value;
  Json result = Json::object();
  for (auto& [key, value] : sorted) result[key] = std::move(value);
  return result;
}

// {} when there is none.
Json read_results(const fs::path& file) {
  if (!fs::exists(file)) return Json::object();
  Json results = read_json_file(file);
  const auto is_object = [](const Json& section) { return section.is_object(); };
  if (!results.is_object() || !std::all_of(results.begin(), results.end(), is_object)) {
    fail(file.string(),
         "expected an object of objects; remove the file, it is made from the answers again");
  }
  return results;
}

bool is_answered(const fs::path& answers, const TaskRecord& record) {
  if (!record.per_item || record.items.count() == 0) return true;
  if (!fs::exists(answers)) return false;
  std::set<std::int64_t> rows;
  try {
    for (const Answer& answer : read_answers(answers)) {
      if (record.items.contains(answer.index)) rows.insert(answer.index);
    }
  } catch (const Error&) {  // the command that goes on with this task says what is wrong
    return false;
  }
  return std::ssize(rows) == record.items.count();
}

// What a killed run was about to rename.
void remove_stale_partials(const fs::path& folder) {
  std::vector<fs::path> stale;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view kSuffix = ".qx-partial";
    if (!name.starts_with('.') || !name.ends_with(kSuffix)) continue;
    const std::string target = name.substr(1, name.size() - 1 - kSuffix.size());
    if (is_own_file(target) || is_measurement(target)) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) fs::remove(path);
}

// The lock of a run folder: a descriptor, or -1 when another process holds it. On the folder itself; where a
// file system cannot lock what is open for reading only (NFS: EBADF), on a hidden file in it.
int try_lock(const fs::path& folder) {
  int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail(folder.string(), "cannot open: {}", std::strerror(errno));
  int result = ::flock(fd, LOCK_EX | LOCK_NB);
  if (result != 0 && errno == EBADF) {
    ::close(fd);
    fd = ::open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) fail_errno(folder / ".lock", "cannot create the lock", errno);
    result = ::flock(fd, LOCK_EX | LOCK_NB);
  }
  if (result == 0) return fd;
  const int error = errno;
  ::close(fd);
  if (error != EWOULDBLOCK) fail(folder.string(), "cannot lock: {}", std::strerror(error));
  return -1;
}

}  // namespace

std::string first_model_difference(const Json& found, const Json& wanted, const RunNames& names) {
  std::string text = difference("plan_hash", json_member(found, "plan_hash"),
                                json_member(wanted, "plan_hash"), names);
  if (!text.empty()) return text;
  const Json old_files = json_member(found, "files"), new_files = json_member(wanted, "files");
  for (const auto& [name, hash] : new_files.items()) {
    text = difference("SHA-256 of the model's " + name, json_member(old_files, name), hash, names);
    if (!text.empty()) return text;
  }
  for (const auto& [name, hash] : old_files.items()) {
    text = difference("SHA-256 of the model's " + name, hash, json_member(new_files, name), names);
    if (!text.empty()) return text;
  }
  return "";
}

std::string first_condition_difference(const Json& found, const Json& wanted,
                                       const RunNames& names) {
  std::string text =
      first_model_difference(json_member(found, "model"), json_member(wanted, "model"), names);
  for (const char* key : kIdentity) {
    if (text.empty()) text = difference(key, identity(found, key), identity(wanted, key), names);
  }
  for (const char* key : kSelectionIdentity) {
    if (!text.empty()) break;
    text = difference(fmt::format("selection of items, {}", key),
                      json_member(run_selection(found), key),
                      json_member(run_selection(wanted), key), names);
  }
  return text.empty() ? data_difference(found, wanted, names) : text;
}

std::string first_run_difference(const Json& found, const Json& wanted) {
  const RunNames names;
  std::string text = first_condition_difference(found, wanted, names);
  if (text.empty()) {
    text = difference("selection of items, shard", json_member(run_selection(found), "shard"),
                      json_member(run_selection(wanted), "shard"), names);
  }
  if (!text.empty()) return text;
  return items_difference(parse_run_record(found, "run.json"),
                          parse_run_record(wanted, "this command"));
}

RunFolder::RunFolder(fs::path folder, Json wanted, OpenRun how) : folder_(std::move(folder)) {
  std::error_code error;
  if (how == OpenRun::kContinueOnly && !fs::exists(folder_ / "run.json", error)) {
    fail(folder_.string(), "holds no run to resume; leave out --resume to start one");
  }
  const bool created = fs::create_directories(folder_, error);
  if (!error && created) {
    const fs::path runs = fs::absolute(folder_).lexically_normal().parent_path();
    sync_path(runs);
    if (runs.has_parent_path()) sync_path(runs.parent_path());
  }
  if (error) fail(folder_.string(), "cannot create the folder: {}", error.message());
  lock();
  try {
    open(std::move(wanted), how);
  } catch (...) {
    ::close(lock_fd_);
    throw;
  }
}

RunFolder::~RunFolder() {
  ::close(lock_fd_);
}

void RunFolder::lock() {
  // `qx runs` looks at the lock for a moment; that alone must not stop anybody.
  for (int attempt = 0; attempt < 5; ++attempt) {
    lock_fd_ = try_lock(folder_);
    if (lock_fd_ >= 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  fail(folder_.string(), "another qx eval writes here; wait for it to end");
}

void RunFolder::open(Json wanted, OpenRun how) {
  const fs::path file = folder_ / "run.json";
  remove_stale_partials(folder_);
  if (how == OpenRun::kStartOver) remove_own_files(wanted);
  run_ = std::move(wanted);
  run_["start"] = utc_now();
  run_["end"] = nullptr;
  run_["earlier_sessions"] = Json::array();
  if (fs::exists(file)) {
    const Json found = read_json_file(file);
    parse_run_record(found, file.string());
    read_results(folder_ / "results.json");
    const std::string text = first_run_difference(found, run_);
    if (!text.empty()) {
      fail(folder_.string(),
           "holds another run. {}. Choose another -o or NAME=DIR, or start over with --force",
           text);
    }
    // The run as a whole began when the folder was made; tasks that this command leaves out stay.
    run_["start"] = json_member(found, "start");
    Json tasks = json_member(found, "tasks");
    for (const auto& [name, task] : run_["tasks"].items()) tasks[name] = task;
    run_["tasks"] = tasks;
    run_["earlier_sessions"] = earlier_sessions(found, run_);
  } else if (holds_files(folder_)) {
    fail(folder_.string(),
         "is not empty and holds no run.json, expected a new name or a run folder");
  }
  run_["tasks"] = sorted_by_key(run_["tasks"]);
  write_run_json();
}

void RunFolder::remove_own_files(const Json& wanted) const {
  if (!fs::exists(folder_ / "run.json")) return;
  std::vector<fs::path> own;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (is_own_file(name) && name != "run.json") own.push_back(entry.path());
    if (is_measurement(name) && !is_of_model(entry.path(), wanted)) own.push_back(entry.path());
  }
  own.push_back(folder_ / "run.json");  // last: killed before, it is still a run folder
  for (const fs::path& path : own) fs::remove(path);
}

void RunFolder::write_run_json() const {
  write_file_atomic(folder_ / "run.json", dump_json(run_, 2, false, false) + "\n", true);
}

fs::path RunFolder::answers_file(std::string_view task) const {
  return folder_ / fmt::format("answers-{}.jsonl", task);
}

fs::path RunFolder::prompts_file(std::string_view task) const {
  return folder_ / fmt::format("prompts-{}.jsonl", task);
}

std::vector<std::string> RunFolder::unfinished_tasks(const Json& finished) const {
  std::vector<std::string> tasks;
  for (const auto& [task, record] : parse_run_record(run_, "run.json").tasks) {
    if (!finished.contains(task) && !is_answered(answers_file(task), record)) tasks.push_back(task);
  }
  return tasks;
}

void RunFolder::finish(const Json& results) {
  const fs::path file = folder_ / "results.json";
  const std::vector<std::string> unfinished = unfinished_tasks(json_member(results, "results"));
  Json all = read_results(file);
  for (const auto& [section, tasks] : results.items()) {
    Json merged = json_member(all, section);
    for (const auto& [task, value] : tasks.items()) merged[task] = value;
    all[section] = sorted_by_key(merged);
  }
  // Of fewer items than run.json says by now.
  for (auto& [section, tasks] : all.items()) {
    for (const std::string& task : unfinished) tasks.erase(task);
  }
  write_file_atomic(file, dump_json(all, 2, false, false) + "\n", true);
  if (unfinished.empty()) run_["end"] = utc_now();
  write_run_json();
}

bool is_being_written(const fs::path& folder) {
  const int fd = try_lock(folder);
  if (fd >= 0) ::close(fd);
  return fd < 0;
}

}  // namespace qx
