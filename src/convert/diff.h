// What differs between two model directories.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "io/json.h"

namespace qx {

struct TensorDifference {
  std::string name;
  // kOnlyA, kOnlyB: the other has none. kShape: of other logical shapes. kStorage: other bits, group or
  // type. kValues: stored alike, with other bytes.
  enum class Kind { kOnlyA, kOnlyB, kShape, kStorage, kValues } kind{};
  std::string a, b;  // how each stores it: "affine 4 bits, group 32, BF16"; empty when it does not
  bool compared = false;  // the decoded weights were compared; what follows holds
  std::int64_t different_weights = 0;
  double rms = 0, largest = 0;  // of the difference of decoded weights
};

struct KeyDifference {
  std::string key;  // "quantization.bits"
  Json a, b;        // null: absent
};

struct DirectoryDiff {
  std::vector<TensorDifference> tensors;  // those that differ, sorted by name
  std::size_t equal_tensors = 0;          // stored with the same bytes
  std::vector<KeyDifference> config;      // of config.json, flattened
  std::vector<std::string> files_only_a, files_only_b, files_different;  // tokenizer, template, ..
  bool is_empty() const {
    return tensors.empty() && config.empty() && files_only_a.empty() && files_only_b.empty() &&
           files_different.empty();
  }
};

// Weight files and their index count through their tensors, not through their names and shards. Records of
// the conversion (qx_plan.json) and cards (README.md) are no part of a model and are left out. Fails: Error
// when one of the directories cannot be read.
DirectoryDiff diff_directories(const std::filesystem::path& a, const std::filesystem::path& b,
                               ThreadPool& pool, bool quiet);

}  // namespace qx
