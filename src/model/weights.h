// The weights of a model directory, checked and typed: matrices stay in the mapped files, norms and
// biases are widened to float32.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "arch/catalog.h"
#include "arch/model_config.h"
#include "base/page_prefetch.h"
#include "io/checkpoint.h"
#include "kernels/api.h"

namespace qx {

struct Linear {
  WeightRows rows;
  std::vector<float> bias;  // empty: none
};

struct LayerWeights {
  std::vector<float> input_norm, post_norm;
  std::vector<float> q_norm, k_norm;  // qwen3 only
  Linear q, k, v, o, gate, up, down;
};

struct ModelWeights {
  std::string place;  // the directory, for messages
  ModelConfig config;
  // One of the two owns the bytes that WeightRows point to.
  std::unique_ptr<Checkpoint> files;
  std::shared_ptr<const std::byte> memory;  // weights without files (random_weights.h)
  std::unique_ptr<PagePrefetch> prefetch;   // of the files' bytes, while it lasts; null: none
  Linear embedding, head;                   // a tied head has the embedding's rows
  std::vector<LayerWeights> layers;
  std::vector<float> norm;
  std::vector<std::string> warnings;  // config against files, and the checkpoint's problems
};

// Reads config.json and every tensor of the catalog, and starts to bring the matrices into memory in
// the order of a forward pass, unless less memory than they take is available. Bits and group of a
// quantized matrix come from its shapes; where config.json says otherwise, the files win and a
// warning says so.
// Fails: Error naming the tensor: missing, unexpected, of a wrong dtype or shape; or stored in
// mxfp4, nvfp4 or mxfp8, which are not supported yet. A tied model's lm_head.weight and
// rotary_emb.inv_freq are ignored, as in mlx-lm.
std::unique_ptr<ModelWeights> load_weights(const std::filesystem::path& directory);

// Where a tensor of the catalog belongs; weights.layers has its size already. Fails: InternalError
// for a tensor that the model has no place for.
Linear& linear_place(ModelWeights& weights, const CatalogTensor& tensor);  // a matrix or its bias
std::vector<float>& norm_place(ModelWeights& weights, const CatalogTensor& tensor);

// Stored bytes of a matrix: codes, scales and biases, or float values.
std::int64_t stored_bytes(const WeightRows& rows);

// What the forward pass of one token reads and computes, norms and biases left out.
struct TokenCost {
  std::int64_t weight_bytes = 0;  // every linear and the head once, one row of the embedding
  std::int64_t layer_macs = 0;    // multiply-adds of the layers' linears, without the head
  // The part of layer_macs that the last layer spends on tokens of which an output is wanted: all
  // but its keys, values and queries.
  std::int64_t last_layer_macs = 0;
};
TokenCost token_cost(const ModelWeights& weights);

}  // namespace qx
