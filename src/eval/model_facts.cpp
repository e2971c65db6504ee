// Measuring and hashing a model directory.
// SPDX-License-Identifier: Apache-2.0
#include "eval/model_facts.h"

#include <set>
#include <system_error>

#include "arch/catalog.h"
#include "base/error.h"
#include "base/hash.h"
#include "eval/dataset.h"
#include "io/checkpoint.h"
#include "io/staged.h"
#include "recipe/plan.h"

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
    try {
      if (fs::exists(file_)) known_ = read_json_file(file_);
    } catch (const Error&) {
      known_ = Json();
    }
    if (!known_.is_object()) known_ = Json::object();
  }

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
};

// The plan that the stored tensors amount to: bits and groups from their shapes.
Plan stored_plan(const std::vector<CatalogTensor>& catalog, const Checkpoint& files) {
  Plan plan;
  for (const CatalogTensor& tensor : catalog) {
    PlanRow row;
    row.tensor = tensor;
    const TensorView* codes = files.find(tensor.name);
    const TensorView* scales = files.find(tensor.module + ".scales");
    if (codes == nullptr) continue;
    row.dtype = codes->dtype;
    if (tensor.quantizable && scales != nullptr && codes->shape.size() == 2 &&
        scales->shape.size() == 2) {
      row.affine = infer_affine_spec(codes->shape[1], scales->shape[1], tensor.shape[1]);
      row.dtype = scales->dtype;
    }
    plan.rows.push_back(std::move(row));
  }
  return plan;
}

}  // namespace

ModelFacts measure_model(const fs::path& directory) {
  ModelFacts facts;
  facts.path = fs::canonical(directory);
  const Checkpoint files(directory);
  const std::vector<CatalogTensor> catalog = tensor_catalog(load_model_config(directory));
  for (const TensorView* tensor : files.tensors()) {
    facts.tensor_bytes += static_cast<std::int64_t>(tensor->data.size());
  }
  facts.parameters = parameter_count(catalog);
  facts.bits_per_weight =
      8.0 * static_cast<double>(facts.tensor_bytes) / static_cast<double>(facts.parameters);
  facts.plan_hash = stored_plan(catalog, files).plan_hash();

  FileHashes hashes;
  std::set<fs::path> paths(files.files().begin(), files.files().end());
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
