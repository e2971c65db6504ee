// config.json of a language model: the architecture facts that the program uses.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "tensor/dtype.h"

namespace qx {

// Rotary position embedding (RoPE), half-split layout.
struct RopeConfig {
  enum class Type { kDefault, kLinear, kLlama3 };
  Type type = Type::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                                     // linear, llama3
  double low_freq_factor = 1.0, high_freq_factor = 4.0;    // llama3
  std::int64_t original_max_position_embeddings = 8192;    // llama3
};

// How one module is stored, as config.json's "quantization" says. float: not quantized.
struct QuantEntry {
  bool is_float = false;
  std::optional<int> bits, group_size;  // absent: null or missing in the file
  std::string mode = "affine";
};

struct QuantConfig {
  QuantEntry global;
  std::map<std::string, QuantEntry> modules;  // by module path ("model.layers.0.self_attn.q_proj")
};

struct ModelConfig {
  std::string model_type;  // "qwen3", "qwen2", "llama" (remapped names resolved, e.g. "mistral")
  std::int64_t hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  std::int64_t vocab_size = 0, max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  bool attention_bias = false;    // q k v and, for llama, o
  bool attention_out_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;           // qwen3
  RopeConfig rope;
  std::optional<DType> dtype;     // torch_dtype or dtype
  std::vector<std::int32_t> eos_token_ids;
  std::optional<std::int32_t> bos_token_id;
  std::optional<QuantConfig> quantization;
};

// Reads the classic and the newer (rope_parameters, dtype) spelling. eos_token_ids comes from
// generation_config.json beside it when that has one, as mlx-lm does.
// Fails: Error; an unsupported architecture is named with those that are supported; impossible sizes
// (non-positive, heads not divisible, products beyond 2^48) are refused.
ModelConfig parse_model_config(const Json& config, std::string_view origin);
ModelConfig load_model_config(const std::filesystem::path& directory_or_config_json);

}  // namespace qx
