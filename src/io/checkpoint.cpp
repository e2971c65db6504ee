// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "io/json.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr const char* kIndexName = "model.safetensors.index.json";

// model*.safetensors of the directory, sorted; what mlx-lm reads.
std::vector<std::string> present_shards(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator it(directory, error);
  if (error) fail(directory.string(), "cannot read the directory: {}", error.message());
  for (const auto& entry : it) {
    std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors"))
      names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Tensor name -> shard file name. Names must be plain file names, so that a hostile index reaches
// no other place.
std::map<std::string, std::string> read_weight_map(const fs::path& index) {
  const std::string origin = index.string();
  const Json json = read_json_file(index);
  const auto found = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || found == json.end() || !found->is_object()) {
    fail(origin, "has no object 'weight_map'");
  }
  std::map<std::string, std::string> map;
  for (const auto& [tensor, file] : found->items()) {
    if (!file.is_string()) {
      fail(origin, "weight_map: '{}' is {}, expected a file name", tensor, file.type_name());
    }
    std::string name = file.get<std::string>();
    if (name.empty() || name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos ||
        !name.ends_with(".safetensors")) {
      fail(origin, "weight_map: '{}' is in {}, expected a plain file name *.safetensors", tensor,
           file.dump());
    }
    map.emplace(tensor, std::move(name));
  }
  if (map.empty()) fail(origin, "weight_map is empty, expected the model's tensors");
  return map;
}

// The files that the directory's index names, or all that are there when it has none.
struct ShardList {
  std::map<std::string, std::string> weight_map;  // empty: no index
  std::vector<std::string> present;
  std::set<std::string> wanted;
  bool indexed = false;
};

ShardList list_shards(const fs::path& directory) {
  ShardList list;
  list.present = present_shards(directory);
  const fs::path index = directory / kIndexName;
  list.indexed = fs::exists(fs::symlink_status(index));
  if (list.indexed) {
    list.weight_map = read_weight_map(index);
    for (const auto& [tensor, file] : list.weight_map) list.wanted.insert(file);
  } else {
    list.wanted.insert(list.present.begin(), list.present.end());
  }
  if (list.wanted.empty()) {
    fail(directory.string(), "has no model*.safetensors, expected a model directory");
  }
  return list;
}

bool is_aligned(const TensorView& tensor) {
  return reinterpret_cast<std::uintptr_t>(tensor.data.data()) % dtype_bytes(tensor.dtype) == 0;
}

void report_alignment(const SafetensorsFile& shard, std::vector<std::string>& problems) {
  const TensorView* first = nullptr;
  std::size_t count = 0;
  for (const TensorView& t : shard.tensors()) {
    if (is_aligned(t)) continue;
    if (first == nullptr) first = &t;
    ++count;
  }
  if (first == nullptr) return;
  problems.push_back(fmt::format(
      "{}: the data of {} of {} tensors are not aligned to their type (first: '{}'); they are read "
      "all the same",
      shard.file().path().filename().string(), count, shard.tensors().size(), first->name));
}

}  // namespace

std::vector<fs::path> checkpoint_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const std::string& name : list_shards(directory).wanted) files.push_back(directory / name);
  return files;
}

Checkpoint::Checkpoint(const std::filesystem::path& directory) {
  const std::string place = directory.string();
  const fs::path index = directory / kIndexName;
  const auto [weight_map, present, wanted, indexed] = list_shards(directory);
  for (const std::string& name : present) {
    if (!indexed || wanted.contains(name)) continue;
    problems_.push_back(fmt::format(
        "{}: not named by {}, so it is ignored (mlx-lm would load it); remove it if it is stale",
        name, kIndexName));
  }

  std::unordered_map<std::string, std::string> file_of;
  for (const std::string& name : wanted) {
    if (indexed && !fs::exists(directory / name)) {
      fail(index.string(), "names the shard '{}', which is missing", name);
    }
    shards_.push_back(std::make_unique<SafetensorsFile>(directory / name));
    files_.push_back(directory / name);
    report_alignment(*shards_.back(), problems_);
    for (const TensorView& t : shards_.back()->tensors()) {
      const auto [other, fresh] = file_of.emplace(t.name, name);
      if (!fresh) {
        fail(place, "tensor '{}' is in both {} and {}, expected it once", t.name, other->second,
             name);
      }
      by_name_.emplace(t.name, &t);
      tensors_.push_back(&t);
      const auto listed = weight_map.find(t.name);
      if (indexed && listed == weight_map.end()) {
        problems_.push_back(fmt::format("{}: tensor '{}' is not in {}", name, t.name, kIndexName));
      } else if (indexed && listed->second != name) {
        fail(index.string(), "tensor '{}' is in {}, expected it in {}", t.name, name,
             listed->second);
      }
    }
  }
  for (const auto& [tensor, file] : weight_map) {
    if (!by_name_.contains(tensor)) {
      fail(index.string(), "tensor '{}' is missing from {}", tensor, file);
    }
  }
  std::sort(tensors_.begin(), tensors_.end(),
            [](const TensorView* a, const TensorView* b) { return a->name < b->name; });
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? nullptr : found->second;
}

const TensorView& Checkpoint::at(std::string_view name) const {
  const TensorView* tensor = find(name);
  if (tensor == nullptr) {
    fail(files_.front().parent_path().string(), "tensor '{}' is missing", name);
  }
  return *tensor;
}

std::vector<const MappedFile*> Checkpoint::maps() const {
  std::vector<const MappedFile*> out;
  for (const auto& shard : shards_) out.push_back(&shard->file());
  QX_CHECK(out.size() == files_.size());
  return out;
}

void Checkpoint::release(const TensorView& tensor) const {
  for (const auto& shard : shards_) {
    const auto bytes = shard->file().bytes();
    if (tensor.data.data() < bytes.data() || tensor.data.data() >= bytes.data() + bytes.size()) {
      continue;
    }
    shard->file().release(static_cast<std::size_t>(tensor.data.data() - bytes.data()),
                          tensor.data.size());
    return;
  }
}

}  // namespace qx
