// All tensors of a Hugging Face or MLX model directory, across its shards.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/safetensors.h"

namespace qx {

// The files that a Checkpoint of this directory would map, in order; reads the index alone. Fails:
// Error as the constructor does for a directory without model files, or a broken index.
std::vector<std::filesystem::path> checkpoint_files(const std::filesystem::path& directory);

// Owns the maps. With an index file, exactly the shards that it names are read, and every tensor
// must lie where the index says; without one, every model*.safetensors of the directory.
// problems(): what a careful person would want to know: a stale extra shard, a tensor that the
// index does not list, data that start unaligned. Fails: Error when the content is incomplete or
// ambiguous: a listed shard or tensor is missing or elsewhere, a name occurs in two shards, the
// index names a path instead of a file.
class Checkpoint {
 public:
  explicit Checkpoint(const std::filesystem::path& directory);

  const TensorView* find(std::string_view name) const;  // null when absent
  const TensorView& at(std::string_view name) const;    // Fails: Error naming directory and tensor
  const std::vector<const TensorView*>& tensors() const { return tensors_; }  // sorted by name
  const std::vector<std::string>& problems() const { return problems_; }
  const std::vector<std::filesystem::path>& files() const { return files_; }
  std::vector<const MappedFile*> maps() const;  // of files(), in their order
  // A hint that a tensor's pages are not needed again soon.
  void release(const TensorView& tensor) const;

 private:
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::vector<const TensorView*> tensors_;
  std::unordered_map<std::string, const TensorView*> by_name_;
  std::vector<std::string> problems_;
  std::vector<std::filesystem::path> files_;
};

}  // namespace qx
