// Another order of a model's channels: the same function up to the rounding of sums, with other
// groups of weights side by side. What was quantized before in groups (the usual GGUF file) loses
// the trace of that in its groups; claims about a quantizer's quality are to be made on such a copy
// (docs/fitting.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "arch/catalog.h"
#include "arch/model_config.h"

namespace qx {

// Where a tensor's rows and columns come from; empty: as they are. A vector is one row of columns.
struct TensorOrder {
  std::vector<std::int64_t> rows;  // new row r is old row rows[r]
  std::vector<std::int64_t> cols;  // new column c is old column cols[c]
};

// Seeded orders of: the hidden channels (one for the whole model: every residual read and write,
// all norms), each layer's MLP channels (gate and up rows, down columns), and each key-value head's
// value channels within the head (v rows, the columns of o of every query head that reads it). Rows
// of q and k stay, since rotation pairs them. The order depends on the config's sizes and the seed
// alone.
class ChannelPermutation {
 public:
  ChannelPermutation(const ModelConfig& config, std::uint64_t seed);
  // By Hugging Face name. Fails: InternalError for a tensor that the catalog does not list.
  const TensorOrder& order(const std::string& tensor) const;

 private:
  std::map<std::string, TensorOrder> orders_;
};

}  // namespace qx
