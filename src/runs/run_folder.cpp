// Run folders.
// SPDX-License-Identifier: Apache-2.0
#include "runs/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <system_error>

#include "base/error.h"
#include "io/staged.h"
#include "tasks/index_set.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// In the order in which a difference is told. "model" and "tasks" have rules of their own.
constexpr const char* kIdentity[] = {
    "few_shot",      "few_shot_seed",      "few_shot_multiturn", "mode",      "convention",
    "template_hash", "template_variables", "max_length",         "precision", "kv_bits",
    "version"};
// Of "selection": a larger limit or sample contains the smaller one, so these are left out.
constexpr const char* kSelectionIdentity[] = {"kind", "offset", "seed", "shard"};

std::string shown(const Json& value) {
  return value.is_null() ? "none" : value.dump();
}

std::string difference(std::string_view what, const Json& found, const Json& wanted) {
  if (found == wanted) return "";
  return fmt::format("{}: this command has {}, the folder has {}", what, shown(wanted),
                     shown(found));
}

Json member(const Json& object, std::string_view key) {
  if (!object.is_object()) return {};
  const auto found = object.find(std::string(key));
  return found == object.end() ? Json() : *found;
}

// Runs that do not say how many bits their keys and values had are of versions that knew 32 only.
Json identity(const Json& run, std::string_view key) {
  Json value = member(run, key);
  return key == "kv_bits" && value.is_null() ? Json(32) : value;
}

std::string model_difference(const Json& found, const Json& wanted) {
  std::string text =
      difference("plan_hash", member(found, "plan_hash"), member(wanted, "plan_hash"));
  if (!text.empty()) return text;
  const Json old_files = member(found, "files"), new_files = member(wanted, "files");
  for (const auto& [name, hash] : new_files.items()) {
    text = difference("SHA-256 of the model's " + name, member(old_files, name), hash);
    if (!text.empty()) return text;
  }
  for (const auto& [name, hash] : old_files.items()) {
    text = difference("SHA-256 of the model's " + name, hash, member(new_files, name));
    if (!text.empty()) return text;
  }
  return "";
}

// Runs of versions that knew an offset and a limit only say "offset" outside.
Json selection_of(const Json& run) {
  Json selection = member(run, "selection");
  if (!selection.is_object()) {
    selection = Json{{"kind", "rows"}, {"offset", member(run, "offset")}};
  }
  return selection;
}

std::string selection_difference(const Json& found, const Json& wanted) {
  for (const char* key : kSelectionIdentity) {
    std::string text =
        difference(fmt::format("selection of items, {}", key), member(selection_of(found), key),
                   member(selection_of(wanted), key));
    if (!text.empty()) return text;
  }
  return "";
}

// The rows of a task of a run.
IndexSet items_of(const Json& run, const std::string& name) {
  const Json task = member(member(run, "tasks"), name);
  const std::string place = "run.json: task " + name;
  if (!member(task, "indices").is_null()) {
    return IndexSet::parse(json_string(task, "indices", place), place);
  }
  const std::int64_t offset = json_int_or(selection_of(run), "offset", 0, place);
  const std::int64_t items = json_int(task, "items", place);
  if (offset < 0 || items < 1 || items > INT64_MAX - offset) {
    fail(place, "got {} items from row {} on, expected some", items, offset);
  }
  return IndexSet::parse(fmt::format("{}-{}", offset, offset + items - 1), place);
}

std::string task_difference(const Json& found, const Json& wanted) {
  const Json old_tasks = member(found, "tasks"), new_tasks = member(wanted, "tasks");
  for (const auto& [name, task] : new_tasks.items()) {
    const Json old = member(old_tasks, name);
    if (old.is_null()) continue;
    std::string text = difference("SHA-256 of the data of " + name, member(old, "data_hash"),
                                  member(task, "data_hash"));
    if (!text.empty()) return text;
    text = difference("SHA-256 of the examples of " + name, member(old, "examples_hash"),
                      member(task, "examples_hash"));
    // A shipped description is as good as the version, which has been compared.
    const Json now = member(task, "description");
    if (text.empty() && !now.is_null() && now != "shipped") {
      text = difference("SHA-256 of the description of " + name, member(old, "description_hash"),
                        member(task, "description_hash"));
    }
    if (!text.empty()) return text;
    const IndexSet old_items = items_of(found, name), new_items = items_of(wanted, name);
    if (new_items.includes(old_items)) continue;
    return fmt::format(
        "items of {}: this command has {}, the folder has {} and not all of them are among these "
        "(items may be added, not taken away)",
        name, new_items.count(), old_items.count());
  }
  return "";
}

// Other builds or machines that gave answers to this folder before; equal ones are told once.
Json earlier_sessions(const Json& found, const Json& now) {
  Json earlier = member(found, "earlier_sessions");
  if (!earlier.is_array()) earlier = Json::array();
  Json last, current;
  for (const char* key : {"commit", "dirty", "compiler", "kernels", "threads"}) {
    last[key] = member(found, key);
    current[key] = member(now, key);
  }
  if (last != current && std::find(earlier.begin(), earlier.end(), last) == earlier.end()) {
    earlier.push_back(last);
  }
  return earlier;
}

// Hidden files do not count (a killed run may leave a temporary one), nor do the prompts of a dry run.
bool holds_files(const fs::path& folder) {
  const fs::directory_iterator entries(folder);
  return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    return !name.starts_with('.') && !name.starts_with("prompts-");
  });
}

bool is_own_file(const std::string& name) {
  return name == "run.json" || name == "results.json" ||
         ((name.starts_with("answers-") || name.starts_with("prompts-") ||
           name.starts_with("samples_")) &&
          name.ends_with(".jsonl"));
}

}  // namespace

std::string first_run_difference(const Json& found, const Json& wanted) {
  std::string text = model_difference(member(found, "model"), member(wanted, "model"));
  for (const char* key : kIdentity) {
    if (text.empty()) text = difference(key, identity(found, key), identity(wanted, key));
  }
  if (text.empty()) text = selection_difference(found, wanted);
  if (text.empty()) text = task_difference(found, wanted);
  return text;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

RunFolder::RunFolder(fs::path folder, Json wanted, OpenRun how) : folder_(std::move(folder)) {
  std::error_code error;
  if (how == OpenRun::kContinueOnly && !fs::exists(folder_ / "run.json", error)) {
    fail(folder_.string(), "holds no run to resume; leave out --resume to start one");
  }
  fs::create_directories(folder_, error);
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
  lock_fd_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_fd_ < 0) fail(folder_.string(), "cannot open: {}", std::strerror(errno));
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  ::close(lock_fd_);
  if (error == EWOULDBLOCK)
    fail(folder_.string(), "another qx eval writes here; wait for it to end");
  fail(folder_.string(), "cannot lock: {}", std::strerror(error));
}

void RunFolder::open(Json wanted, OpenRun how) {
  const fs::path file = folder_ / "run.json";
  if (how == OpenRun::kStartOver) remove_own_files();
  run_ = std::move(wanted);
  run_["start"] = utc_now();
  run_["end"] = nullptr;
  run_["earlier_sessions"] = Json::array();
  if (fs::exists(file)) {
    const Json found = read_json_file(file);
    const std::string text = first_run_difference(found, run_);
    if (!text.empty()) {
      fail(folder_.string(),
           "holds another run. {}. Choose another -o or NAME=DIR, or start over with --force",
           text);
    }
    // The run as a whole began when the folder was made; tasks that this command leaves out stay.
    run_["start"] = member(found, "start");
    Json tasks = member(found, "tasks");
    for (const auto& [name, task] : run_["tasks"].items()) tasks[name] = task;
    run_["tasks"] = tasks;
    run_["earlier_sessions"] = earlier_sessions(found, run_);
  } else if (holds_files(folder_)) {
    fail(folder_.string(),
         "is not empty and holds no run.json, expected a new name or a run folder");
  }
  write_run_json();
}

void RunFolder::remove_own_files() const {
  if (!fs::exists(folder_ / "run.json")) return;
  std::vector<fs::path> own;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    if (is_own_file(entry.path().filename().string())) own.push_back(entry.path());
  }
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

void RunFolder::finish(const Json& results) {
  const fs::path file = folder_ / "results.json";
  Json all = fs::exists(file) ? read_json_file(file) : Json::object();
  for (const auto& [section, tasks] : results.items()) {
    for (const auto& [task, value] : tasks.items()) all[section][task] = value;
  }
  write_file_atomic(file, dump_json(all, 2, false, false) + "\n", true);
  run_["end"] = utc_now();
  write_run_json();
}

}  // namespace qx
