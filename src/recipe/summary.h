// Plans and inspections in few lines: tensors grouped by storage, memory to run, sizes in words.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/model_config.h"
#include "recipe/directory_map.h"
#include "recipe/plan.h"

namespace qx {

// One tensor as the summary sees it.
struct SummaryItem {
  Role role = Role::kNorm;
  int layer = -1;
  std::int64_t weights = 0, bytes = 0;
  std::string storage;  // "6 bits, group 32", "bfloat16"
  std::string rule;
};
std::vector<SummaryItem> summary_items(const Plan& plan);
std::vector<SummaryItem> summary_items(const MeasuredDirectory& directory);

// Tensors of equal storage and rule, roles together where they are so in the same layers. In the
// order of the items, norms and biases last.
struct SummaryLine {
  std::vector<Role> roles;
  std::vector<int> layers;  // ascending; empty: outside the layers
  std::int64_t tensors = 0, weights = 0, bytes = 0;
  std::string storage, rule;
};
std::vector<SummaryLine> summarize(std::span<const SummaryItem> items);

// A table with a heading; `layers` is the model's number of layers.
std::string summary_table(std::span<const SummaryLine> lines, std::int64_t layers);

// "0-3, 8", "0-32 by 4, 35", "all but 5", "all" when all of `total`, "-" when none. layers is
// ascending.
std::string layers_text(const std::vector<int>& layers, std::int64_t total);

// What a run with `context` tokens of one sequence needs. kv_bits: 32, 16, or 8 or 4 with a scale
// and a bias in bfloat16 for each 64 values (model/kv_segment.h). rows: tokens of the largest
// forward pass; a shorter context has fewer.
struct MemoryNeeds {
  std::int64_t weights = 0;
  std::int64_t cache = 0;  // 2 * layers * kv_heads * head_dim values a position, of kv_bits each
  std::int64_t activations = 0;  // an estimate: rows of float32, and one of logits
  std::int64_t total() const { return weights + cache + activations; }
};
constexpr std::int64_t kDefaultContext = 4096;  // positions, where nobody says how many
constexpr std::int64_t kActivationRows =
    512;  // a prompt that is generated from goes through in such pieces
MemoryNeeds memory_needs(const ModelConfig& config, std::int64_t weight_bytes, std::int64_t context,
                         int kv_bits = 32, std::int64_t rows = kActivationRows);

// "4.29 GB", "12.3 MB", "512 bytes"; powers of 1000.
std::string bytes_text(std::int64_t bytes);

}  // namespace qx
