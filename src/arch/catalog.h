// The tensors that a model of a given config has: names, shapes, roles. The single list that recipes,
// planning, conversion, loading and lint agree on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "arch/model_config.h"

namespace qx {

enum class Role {
  kEmbedding,
  kHead,
  kAttentionQ,
  kAttentionK,
  kAttentionV,
  kAttentionO,
  kMlpGate,
  kMlpUp,
  kMlpDown,
  kRouter,
  kExpert,
  kNorm,
  kBias
};

std::string_view role_name(Role role);  // "embedding", "head", "q", .., "norm", "bias"

struct CatalogTensor {
  std::string name;    // Hugging Face name, "model.layers.3.mlp.down_proj.weight"
  std::string module;  // without ".weight" or ".bias"
  Shape shape;         // logical, [out, in] for a linear
  Role role;
  int layer = -1;            // -1: outside the layers
  bool quantizable = false;  // a linear or embedding weight
};

// In mlx-lm's module order (embed_tokens, layers, norm, lm_head). A tied head is not listed.
std::vector<CatalogTensor> tensor_catalog(const ModelConfig& config);

// Logical weights: a tied head once, quantization scales and biases never.
std::int64_t parameter_count(const std::vector<CatalogTensor>& catalog);

}  // namespace qx
