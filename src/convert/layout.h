// Which arrays the output has and in which file each lies.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "recipe/plan.h"

namespace qx {

constexpr std::int64_t kMaxShardBytes = std::int64_t{5} << 30;

struct OutputArray {
  std::string name;
  std::int64_t row_bytes = 0;  // of one row of the tensor; a vector is one row
  std::size_t shard = 0;
  std::size_t slot = 0;  // index within the shard
};

// The arrays of one plan row: codes, scales, biases; or the float tensor alone.
struct OutputTensor {
  std::vector<OutputArray> arrays;
  MatrixShape shape;  // logical
};

struct Layout {
  std::vector<OutputTensor> tensors;  // as the plan's rows
  std::vector<std::vector<SafetensorsWriter::Entry>> shards;
  std::vector<std::string> shard_names;
  std::vector<std::int64_t> shard_bytes;
  std::int64_t total_bytes = 0;
};

// As mlx-lm: arrays in module order, a new file when the next array would pass the limit; an array
// larger than the limit has a file of its own.
Layout make_layout(const Plan& plan, std::int64_t max_shard_bytes);

}  // namespace qx
