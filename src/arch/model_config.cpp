// SPDX-License-Identifier: Apache-2.0
#include "arch/model_config.h"

#include <cmath>
#include <string>
#include <string_view>

#include "arch/quant_config.h"
#include "base/error.h"
#include "io/checkpoint.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kMaxWeights = std::int64_t{1} << 48;
constexpr std::int64_t kMaxDimension = std::int64_t{1} << 30;
constexpr std::int64_t kMaxLayers = 4096;

// The value of a key, or null when it is absent or null.
const Json* present(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::int64_t checked_size(std::int64_t value, std::string_view key, std::int64_t limit,
                          std::string_view origin) {
  if (value < 1 || value > limit) {
    fail(origin, "key '{}': got {}, expected 1 to {}", key, value, limit);
  }
  return value;
}

std::int64_t size(const Json& config, std::string_view key, std::string_view origin,
                  std::int64_t limit = kMaxDimension) {
  return checked_size(json_int(config, key, origin), key, limit, origin);
}

std::int64_t size_or(const Json& config, std::string_view key, std::int64_t fallback,
                     std::string_view origin) {
  return checked_size(json_int_or(config, key, fallback, origin), key, kMaxDimension, origin);
}

double positive(const Json& object, std::string_view key, double fallback, std::string_view place) {
  const double value = json_number_or(object, key, fallback, place);
  if (!std::isfinite(value) || value <= 0) {
    fail(place, "key '{}': got {}, expected a positive number", key, value);
  }
  return value;
}

// The object that says how positions are scaled: rope_scaling, or the newer rope_parameters.
const Json* rope_object(const Json& config, std::string_view origin) {
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    const Json* found = present(config, key);
    if (found == nullptr) continue;
    if (!found->is_object()) {
      fail(origin, "key '{}': got {}, expected an object", key, found->type_name());
    }
    if (!found->empty()) return found;
  }
  return nullptr;
}

RopeConfig::Type rope_type(const Json& rope, std::string_view place) {
  const std::string by_new = json_string_or(rope, "rope_type", "", place);
  const std::string by_old = json_string_or(rope, "type", "", place);
  if (!by_new.empty() && !by_old.empty() && by_new != by_old) {
    fail(place, "got rope_type '{}' and type '{}', expected them to agree", by_new, by_old);
  }
  const std::string& type = by_new.empty() ? by_old : by_new;
  if (type.empty() || type == "default") return RopeConfig::Type::kDefault;
  if (type == "linear") return RopeConfig::Type::kLinear;
  if (type == "llama3") return RopeConfig::Type::kLlama3;
  fail(place, "got rope type '{}', expected one that qx computes: default, linear, llama3", type);
}

// rope_theta may stand at the top, in rope_parameters, or (mlx-lm's spelling of the newer form) in
// the object that was copied to rope_scaling. transformers and mlx-lm prefer different places, so
// two different values have no right reading.
double rope_theta(const Json& config, double fallback, std::string_view origin) {
  std::optional<double> theta;
  const auto take = [&](const Json& object, std::string_view place) {
    if (present(object, "rope_theta") == nullptr) return;
    const double value = positive(object, "rope_theta", fallback, place);
    if (theta && *theta != value) {
      fail(origin, "got rope_theta {} and {} in two places, expected one value", *theta, value);
    }
    theta = value;
  };
  take(config, origin);
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    const Json* object = present(config, key);
    if (object != nullptr && object->is_object()) take(*object, fmt::format("{}: {}", origin, key));
  }
  return theta.value_or(fallback);
}

RopeConfig parse_rope(const Json& config, double default_theta, std::int64_t max_positions,
                      std::string_view origin) {
  RopeConfig rope;
  rope.theta = rope_theta(config, default_theta, origin);
  if (json_bool_or(config, "rope_traditional", false, origin)) {
    fail(origin,
         "key 'rope_traditional': got true, expected false; interleaved rotary positions "
         "are not supported");
  }
  const Json* object = rope_object(config, origin);
  const std::string place = fmt::format("{}: rope", origin);
  for (const Json* holder : {&config, object}) {
    if (holder == nullptr) continue;
    const double part = json_number_or(*holder, "partial_rotary_factor", 1.0, place);
    if (part != 1.0) {
      fail(place, "key 'partial_rotary_factor': got {}, expected 1", part);
    }
  }
  if (object == nullptr) return rope;
  for (const auto& item : object->items()) {
    if (item.value().is_object()) {
      fail(place, "got parameters of their own for '{}', expected one set for all layers",
           item.key());
    }
  }
  rope.type = rope_type(*object, place);
  if (rope.type == RopeConfig::Type::kDefault) return rope;
  if (present(*object, "factor") == nullptr) {
    fail(place, "key 'factor': got nothing, expected a number");
  }
  rope.factor = positive(*object, "factor", 1.0, place);
  if (rope.type == RopeConfig::Type::kLinear) return rope;
  rope.low_freq_factor = positive(*object, "low_freq_factor", 1.0, place);
  rope.high_freq_factor = positive(*object, "high_freq_factor", 4.0, place);
  if (rope.low_freq_factor >= rope.high_freq_factor) {
    fail(place, "got low_freq_factor {} and high_freq_factor {}, expected low below high",
         rope.low_freq_factor, rope.high_freq_factor);
  }
  rope.original_max_position_embeddings =
      size_or(*object, "original_max_position_embeddings", max_positions, place);
  return rope;
}

// Which layers slide is decided as transformers does; mlx-lm ignores these keys.
void refuse_sliding_window(const Json& config, const ModelConfig& c, bool is_mistral,
                           std::string_view origin) {
  if (const Json* types = present(config, "layer_types")) {
    if (!types->is_array()) {
      fail(origin, "key 'layer_types': got {}, expected a list", types->type_name());
    }
    for (const Json& type : *types) {
      if (type != "full_attention") {
        fail(origin, "key 'layer_types': got {}, expected only \"full_attention\"", type.dump());
      }
    }
  }
  std::int64_t window = 0, first_layer = 0;
  if (is_mistral) {
    // An absent key means 4096 in transformers, null means no window.
    window =
        config.contains("sliding_window") ? json_int_or(config, "sliding_window", 0, origin) : 4096;
  } else if (c.model_type != "llama" && json_bool_or(config, "use_sliding_window", false, origin)) {
    if (present(config, "layer_types") != nullptr) return;
    window =
        config.contains("sliding_window") ? json_int_or(config, "sliding_window", 0, origin) : 4096;
    first_layer = json_int_or(config, "max_window_layers", 28, origin);
  }
  if (window > 0 && window < c.max_position_embeddings && first_layer < c.num_hidden_layers) {
    fail(origin,
         "key 'sliding_window': got {}, expected none or at least max_position_embeddings ({}); "
         "sliding-window attention is not supported",
         window, c.max_position_embeddings);
  }
}

void read_token_ids(const Json& config, ModelConfig& c, std::string_view origin) {
  const auto id = [&](const Json& value, std::string_view key) {
    if (!value.is_number_integer()) {
      fail(origin, "key '{}': got {}, expected an integer", key, value.type_name());
    }
    const bool fits = value.is_number_unsigned() ? value.get<std::uint64_t>() < (1ull << 31)
                                                 : value.get<std::int64_t>() >= 0 &&
                                                       value.get<std::int64_t>() < (1ll << 31);
    if (!fits) fail(origin, "key '{}': got {}, expected a token id", key, value.dump());
    return static_cast<std::int32_t>(value.get<std::int64_t>());
  };
  if (const Json* eos = present(config, "eos_token_id")) {
    c.eos_token_ids.clear();
    if (eos->is_array()) {
      for (const Json& value : *eos) c.eos_token_ids.push_back(id(value, "eos_token_id"));
    } else {
      c.eos_token_ids.push_back(id(*eos, "eos_token_id"));
    }
  }
  if (const Json* bos = present(config, "bos_token_id")) {
    // Some configs list several; only a single one can start a text.
    if (!bos->is_array()) c.bos_token_id = id(*bos, "bos_token_id");
  }
}

std::optional<DType> read_dtype(const Json& config, std::string_view origin) {
  for (const std::string_view key : {"torch_dtype", "dtype"}) {
    const std::string name = json_string_or(config, key, "", origin);
    if (!name.empty()) return float_dtype_from_config(name);
  }
  return std::nullopt;
}

// The sizes that every family shares, and the limits that keep later sums within int64.
void read_sizes(const Json& config, ModelConfig& c, std::string_view origin) {
  c.hidden_size = size(config, "hidden_size", origin);
  c.intermediate_size = size(config, "intermediate_size", origin);
  c.num_hidden_layers = size(config, "num_hidden_layers", origin, kMaxLayers);
  c.num_attention_heads = size(config, "num_attention_heads", origin);
  c.num_key_value_heads = size_or(config, "num_key_value_heads", c.num_attention_heads, origin);
  c.vocab_size = size(config, "vocab_size", origin);
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    fail(origin, "got {} attention heads and {} key-value heads, expected a multiple",
         c.num_attention_heads, c.num_key_value_heads);
  }
}

std::int64_t read_head_dim(const Json& config, const ModelConfig& c, std::string_view origin) {
  const bool stated = present(config, "head_dim") != nullptr;
  std::int64_t head_dim = 0;
  if (stated) {
    head_dim = size(config, "head_dim", origin);
  } else if (c.model_type == "qwen3") {
    head_dim = 128;
  } else {
    if (c.hidden_size % c.num_attention_heads != 0) {
      fail(origin, "got hidden_size {} and {} attention heads, expected a multiple (or head_dim)",
           c.hidden_size, c.num_attention_heads);
    }
    head_dim = c.hidden_size / c.num_attention_heads;
  }
  if (head_dim % 2 != 0) {
    fail(origin, "got head_dim {}, expected an even number", head_dim);
  }
  // mlx-lm ignores the key for qwen2, transformers does not.
  if (c.model_type == "qwen2" && head_dim * c.num_attention_heads != c.hidden_size) {
    fail(origin, "got head_dim {}, expected hidden_size / num_attention_heads for qwen2", head_dim);
  }
  return head_dim;
}

void check_total(const ModelConfig& c, std::string_view origin) {
  // In double: the products of hostile sizes exceed int64.
  const auto d = [](std::int64_t x) { return static_cast<double>(x); };
  const double attention =
      2.0 * d(c.hidden_size) * d(c.head_dim) * d(c.num_attention_heads + c.num_key_value_heads);
  const double mlp = 3.0 * d(c.hidden_size) * d(c.intermediate_size);
  const double total = d(c.num_hidden_layers) * (attention + mlp + 8.0 * d(c.hidden_size)) +
                       2.0 * d(c.vocab_size) * d(c.hidden_size);
  if (total > d(kMaxWeights)) {
    fail(origin, "got sizes that make {:.3g} weights, expected at most {}", total, kMaxWeights);
  }
}

}  // namespace

ModelConfig parse_model_config(const Json& config, std::string_view origin) {
  if (!config.is_object()) fail(origin, "got {}, expected an object", config.type_name());
  ModelConfig c;
  const std::string type = json_string(config, "model_type", origin);
  const bool is_mistral = type == "mistral";
  c.model_type = is_mistral ? "llama" : type;
  if (c.model_type != "qwen3" && c.model_type != "qwen2" && c.model_type != "llama") {
    fail(origin, "got architecture '{}', expected one that qx knows: llama, mistral, qwen2, qwen3",
         type.substr(0, 80));
  }
  const std::string act = json_string_or(config, "hidden_act", "silu", origin);
  if (act != "silu" && act != "swish") {
    fail(origin, "key 'hidden_act': got '{}', expected 'silu'", act);
  }
  read_sizes(config, c, origin);
  c.head_dim = read_head_dim(config, c, origin);
  check_total(c, origin);
  const std::int64_t positions = c.model_type != "llama" ? 32768 : is_mistral ? 131072 : 2048;
  c.max_position_embeddings = size_or(config, "max_position_embeddings", positions, origin);
  c.rms_norm_eps = positive(config, "rms_norm_eps", 1e-6, origin);

  c.quantization = parse_quant_config(config, origin);
  const bool from_mlx = c.quantization.has_value();
  c.tie_is_stated = present(config, "tie_word_embeddings") != nullptr;
  c.tie_word_embeddings =
      json_bool_or(config, "tie_word_embeddings", from_mlx && c.model_type != "qwen3", origin);

  c.qk_norm = c.model_type == "qwen3";
  const bool bias = json_bool_or(config, "attention_bias", false, origin);
  c.attention_bias = c.model_type == "qwen2" || bias;
  c.attention_out_bias = c.model_type != "qwen2" && bias;
  c.mlp_bias = c.model_type == "llama" && json_bool_or(config, "mlp_bias", false, origin);

  const double theta = from_mlx && c.model_type == "qwen2" ? 1000000.0 : 10000.0;
  c.rope = parse_rope(config, theta, c.max_position_embeddings, origin);
  refuse_sliding_window(config, c, is_mistral, origin);
  c.dtype = read_dtype(config, origin);
  read_token_ids(config, c, origin);
  return c;
}

namespace {

bool has_weights(const fs::path& directory) {
  if (fs::exists(directory / "model.safetensors.index.json")) return true;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors")) return true;
  }
  return false;
}

}  // namespace

ModelConfig load_model_config(const fs::path& directory_or_config_json) {
  const bool is_directory = fs::is_directory(directory_or_config_json);
  const fs::path file =
      is_directory ? directory_or_config_json / "config.json" : directory_or_config_json;
  fs::path directory = file.parent_path();
  if (directory.empty()) directory = ".";
  constexpr std::size_t kMaxConfigBytes = std::size_t{64} << 20;
  ModelConfig config = parse_model_config(read_json_file(file, kMaxConfigBytes), file.string());
  const fs::path generation = directory / "generation_config.json";
  if (fs::exists(generation)) {
    const Json json = read_json_file(generation, kMaxConfigBytes);
    if (!json.is_object()) {
      fail(generation.string(), "got {}, expected an object", json.type_name());
    }
    if (const Json* eos = present(json, "eos_token_id")) {
      ModelConfig ids;
      read_token_ids(Json{{"eos_token_id", *eos}}, ids, generation.string());
      if (!ids.eos_token_ids.empty()) config.eos_token_ids = ids.eos_token_ids;
    }
  }
  if (!config.tie_is_stated && has_weights(directory)) {
    const Checkpoint weights(directory);
    config.tie_word_embeddings = weights.find("lm_head.weight") == nullptr;
  }
  return config;
}

}  // namespace qx
