// Measuring and hashing a model directory.
// SPDX-License-Identifier: Apache-2.0
#include "runs/model_facts.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <system_error>

#include "base/error.h"
#include "base/hash.h"
#include "base/interrupt.h"
#include "io/staged.h"
#include "recipe/directory_map.h"
#include "tasks/dataset.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// The files that decide a run's answers, beside the weights.
constexpr const char* kSmallFiles[] = {
    "config.json",         "generation_config.json",  "tokenizer.json",   "tokenizer_config.json",
    "chat_template.jinja", "special_tokens_map.json", "added_tokens.json"};

// Hashes of files by path, size and time of change. Best effort: a damaged cache counts as empty.
class FileHashes {
 public:
  FileHashes() {
    const fs::path directory = cache_directory();
    if (directory.empty()) return;
    file_ = directory / "file_hashes.json";
    lock(directory);
    try {
      if (fs::exists(file_)) known_ = read_json_file(file_);
    } catch (const Error&) {
      known_ = Json();
    }
    if (!known_.is_object()) known_ = Json::object();
  }

  ~FileHashes() {
    if (lock_fd_ >= 0) ::close(lock_fd_);
  }
  FileHashes(const FileHashes&) = delete;
  FileHashes& operator=(const FileHashes&) = delete;

  std::string hash(const fs::path& path) {
    const std::string key = fs::canonical(path).string();
    const auto size = fs::file_size(path);
    const std::int64_t changed = fs::last_write_time(path).time_since_epoch().count();
    if (const auto it = known_.find(key); it != known_.end() && it->is_object()) {
      const Json& entry = *it;
      if (entry.value("size", Json()) == Json(size) &&
          entry.value("changed", Json()) == Json(changed) &&
          entry.value("sha256", Json()).is_string()) {
        return entry["sha256"].get<std::string>();
      }
    }
    Json entry;
    entry["size"] = size;
    entry["changed"] = changed;
    entry["sha256"] = sha256_file(path);
    known_[key] = entry;
    dirty_ = true;
    return entry["sha256"].get<std::string>();
  }

  void save() {
    if (!dirty_ || file_.empty()) return;
    forget_removed_files();
    try {
      fs::create_directories(file_.parent_path());
      write_file_atomic(file_, dump_json(known_, 1, false, false), true);
    } catch (const Error&) {  // the next run hashes again
    } catch (const fs::filesystem_error&) {
    }
  }

 private:
  // Several processes that measure one model at once (ranks of one evaluation) hash its files once: the
  // others wait, and then find the hashes.
  void lock(const fs::path& directory) {
    std::error_code ignored;
    fs::create_directories(directory, ignored);
    lock_fd_ = ::open((directory / "file_hashes.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    while (lock_fd_ >= 0 && ::flock(lock_fd_, LOCK_EX) != 0 && errno == EINTR) check_interrupt();
  }

  void forget_removed_files() {
    Json kept = Json::object();
    std::error_code ignored;
    for (const auto& [path, entry] : known_.items()) {
      if (fs::exists(path, ignored)) kept[path] = entry;
    }
    known_ = std::move(kept);
  }

  fs::path file_;
  Json known_ = Json::object();
  bool dirty_ = false;
  int lock_fd_ = -1;
};

}  // namespace

ModelFacts measure_model(const fs::path& directory) {
  ModelFacts facts;
  facts.path = fs::canonical(directory);
  const MeasuredDirectory measured = measure_directory(directory);
  facts.plan_hash = storage_hash(measured.storage());
  facts.parameters = measured.parameters;
  facts.tensor_bytes = measured.tensor_bytes;
  facts.bits_per_weight = measured.bits_per_weight();

  FileHashes hashes;
  std::set<fs::path> paths(measured.files.begin(), measured.files.end());
  for (const char* name : kSmallFiles) {
    if (fs::is_regular_file(directory / name)) paths.insert(directory / name);
  }
  for (const fs::path& path : paths) facts.files[path.filename().string()] = hashes.hash(path);
  hashes.save();
  return facts;
}

Json model_facts_json(const ModelFacts& facts) {
  Json json;
  json["path"] = facts.path.string();
  json["plan_hash"] = facts.plan_hash;
  json["parameters"] = facts.parameters;
  json["tensor_bytes"] = facts.tensor_bytes;
  json["bits_per_weight"] = facts.bits_per_weight;
  json["files"] = Json::object();
  for (const auto& [name, hash] : facts.files) json["files"][name] = hash;
  return json;
}

}  // namespace qx
