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
  double factor = 1.0;                                   // linear, llama3
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  std::int64_t original_max_position_embeddings = 8192;  // llama3
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
  std::string model_type;  // "qwen3", "qwen2", "llama" ("mistral" is read as llama)
  std::int64_t hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  std::int64_t vocab_size = 0, max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  bool tie_is_stated = true;    // false: the key was absent, see load_model_config
  bool attention_bias = false;  // q k v and, for llama, o
  bool attention_out_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  // qwen3
  RopeConfig rope;
  std::optional<DType> dtype;  // torch_dtype or dtype
  std::vector<std::int32_t> eos_token_ids;
  std::optional<std::int32_t> bos_token_id;
  std::optional<QuantConfig> quantization;
};

// Reads the classic (rope_theta, rope_scaling, torch_dtype) and the newer (rope_parameters, dtype)
// spelling. What the program does not compute is refused by name rather than ignored: another
// architecture, a rope type other than default, linear and llama3, a sliding window shorter than
// the context, an activation other than silu, weights quantized by another program (awq, gptq, ..).
//
// Where a key is absent, the default is that of transformers, with two exceptions for a directory
// that has a "quantization" key and so was written by MLX: tie_word_embeddings is then true for
// llama and qwen2, and qwen2's rope_theta 1000000, as mlx-lm assumes (transformers: false, 10000).
//
// Fails: Error naming `origin` and the key. Impossible sizes are refused (non-positive, heads that
// key-value heads do not divide, an odd head_dim, more than 2^48 weights).
ModelConfig parse_model_config(const Json& config, std::string_view origin);

// parse_model_config of a directory's config.json, or of a config file given by itself. Beside it,
// when they exist: generation_config.json, whose eos_token_id wins, as in mlx-lm; and, only when
// tie_word_embeddings is absent, the weights, whose lm_head.weight decides.
ModelConfig load_model_config(const std::filesystem::path& directory_or_config_json);

}  // namespace qx
