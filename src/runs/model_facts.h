// What a run records about a model directory: measured, and hashed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "io/json.h"

namespace qx {

struct ModelFacts {
  std::filesystem::path path;  // canonical
  std::map<std::string, std::string>
      files;                      // name to SHA-256: weights, config, tokenizer, template
  std::string plan_hash;          // of the stored tensors (recipe/plan.h)
  std::int64_t parameters = 0;    // logical weights
  std::int64_t tensor_bytes = 0;  // of all stored tensors
  double bits_per_weight = 0;     // 8 * tensor_bytes / parameters
};

// Hashes of weight files are kept in file_hashes.json in the cache directory, by path, size and time of
// change, so that a file is read once; a cache that cannot be read or written is not an error.
ModelFacts measure_model(const std::filesystem::path& directory);

Json model_facts_json(const ModelFacts& facts);

}  // namespace qx
