// SPDX-License-Identifier: Apache-2.0
#include "convert/import_gguf.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <numbers>
#include <optional>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "convert/gguf_tokenizer.h"
#include "convert/permute_channels.h"
#include "io/replaceable.h"
#include "io/safetensors.h"
#include "io/staged.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

enum class Biases { kNever, kAlways, kIfPresent };

struct Architecture {
  std::string_view name;  // general.architecture and model_type
  std::string_view hf_class;
  Biases qkv_bias;
  bool other_biases;  // o and mlp may have biases
  bool qk_norm;
  bool interleaved_qk;  // GGUF stores q and k rows interleaved
  bool fixed_head_dim;  // head_dim is hidden / heads; config.json cannot say another
};
constexpr std::array kArchitectures = {
    Architecture{"llama", "LlamaForCausalLM", Biases::kIfPresent, true, false, true, false},
    Architecture{"qwen2", "Qwen2ForCausalLM", Biases::kAlways, false, false, false, true},
    Architecture{"qwen3", "Qwen3ForCausalLM", Biases::kNever, false, true, false, false},
};

const Architecture& find_architecture(const GgufKeys& keys) {
  const auto name = keys.find_text("general.architecture");
  if (!name) fail(keys.origin(), "key 'general.architecture' is missing");
  for (const Architecture& a : kArchitectures) {
    if (a.name == *name) return a;
  }
  fail(keys.origin(), "got architecture '{}', expected one of llama qwen2 qwen3", *name);
}

struct Sizes {
  std::int64_t layers, hidden, intermediate, heads, kv_heads, head_dim, context;
  double norm_eps, rope_theta;
};

std::int64_t positive(const GgufKeys& keys, const std::string& key) {
  const std::int64_t value = keys.integer(key);
  if (value == 0) fail(keys.origin(), "key '{}': got 0, expected a positive integer", key);
  return value;
}

double positive_number(const GgufKeys& keys, const std::string& key,
                       std::optional<double> fallback) {
  const auto value = keys.find_number(key);
  if (!value && fallback) return *fallback;
  if (!value) fail(keys.origin(), "key '{}' is missing", key);
  if (!(*value > 0))
    fail(keys.origin(), "key '{}': got {}, expected a positive number", key, *value);
  return *value;
}

// Settings that would change the model and that config.json of these classes cannot carry.
void refuse_unsupported(const GgufKeys& keys, const std::string& prefix, std::int64_t head_dim) {
  if (keys.find_integer("split.count").value_or(1) > 1) {
    fail(keys.origin(),
         "is one part of a split GGUF, expected a whole file; merge the parts first");
  }
  const std::string type = keys.find_text("general.type").value_or("model");
  if (type != "model") fail(keys.origin(), "key 'general.type': got '{}', expected 'model'", type);
  if (keys.find_integer(prefix + "expert_count").value_or(0) > 0) {
    fail(keys.origin(), "is a mixture of experts ({}expert_count), expected a dense model", prefix);
  }
  if (keys.find_integer(prefix + "attention.sliding_window").value_or(0) > 0) {
    fail(keys.origin(), "key '{}attention.sliding_window': sliding windows are not supported",
         prefix);
  }
  for (const char* key : {"rope.dimension_count", "attention.value_length"}) {
    const std::int64_t value = keys.find_integer(prefix + key).value_or(head_dim);
    if (value != head_dim) {
      fail(keys.origin(), "key '{}{}': got {}, expected the head size {}", prefix, key, value,
           head_dim);
    }
  }
}

Sizes read_sizes(const GgufKeys& keys, const Architecture& arch) {
  const std::string prefix = std::string(arch.name) + ".";
  Sizes s{};
  s.layers = positive(keys, prefix + "block_count");
  s.hidden = positive(keys, prefix + "embedding_length");
  s.intermediate = positive(keys, prefix + "feed_forward_length");
  s.heads = positive(keys, prefix + "attention.head_count");
  s.kv_heads = keys.find_integer(prefix + "attention.head_count_kv").value_or(s.heads);
  if (s.kv_heads == 0 || s.heads % s.kv_heads != 0) {
    fail(keys.origin(), "got {} query heads for {} key heads, expected a multiple", s.heads,
         s.kv_heads);
  }
  s.context = positive(keys, prefix + "context_length");
  const auto key_length = keys.find_integer(prefix + "attention.key_length");
  if (!key_length && s.hidden % s.heads != 0) {
    fail(keys.origin(), "got hidden size {} for {} heads, expected a multiple", s.hidden, s.heads);
  }
  s.head_dim = key_length.value_or(s.hidden / s.heads);
  if (s.head_dim == 0 || s.head_dim % 2 != 0) {
    fail(keys.origin(), "got head size {}, expected a positive even number", s.head_dim);
  }
  if (arch.fixed_head_dim && s.head_dim * s.heads != s.hidden) {
    fail(keys.origin(), "got head size {} with {} heads, expected {} to be {} / {} in a {} model",
         s.head_dim, s.heads, s.head_dim, s.hidden, s.heads, arch.name);
  }
  s.norm_eps = positive_number(keys, prefix + "attention.layer_norm_rms_epsilon", std::nullopt);
  s.rope_theta = positive_number(keys, prefix + "rope.freq_base", 10000.0);
  refuse_unsupported(keys, prefix, s.head_dim);
  return s;
}

// Takes tensors out of the file one by one, checking their shapes; what is left at the end is unknown.
class TensorTaker {
 public:
  TensorTaker(const GgufFile& file, const GgufKeys& keys) : origin_(keys.origin()) {
    for (const GgufTensor& t : file.header().tensors) left_.emplace(t.name, &t);
  }

  bool has(const std::string& name) const { return left_.contains(name); }

  const GgufTensor* take(const std::string& name) {
    const auto found = left_.find(name);
    if (found == left_.end()) fail(origin_, "tensor '{}' is missing", name);
    const GgufTensor* tensor = found->second;
    left_.erase(found);
    return tensor;
  }

  void add(const std::string& gguf_name, const std::string& hf_name, const Shape& shape,
           std::int64_t interleaved_heads = 0) {
    const GgufTensor* source = take(gguf_name);
    if (source->shape != shape) {
      fail(fmt::format("{}: tensor '{}'", origin_, gguf_name), "got shape {}, expected {}",
           shape_text(source->shape), shape_text(shape));
    }
    if (shape.size() == 1 && gguf_block_elems(source->type) > 1) {
      fail(fmt::format("{}: tensor '{}'", origin_, gguf_name),
           "got {} for a vector, expected F32, F16 or BF16", gguf_type_name(source->type));
    }
    tensors.push_back({hf_name, shape, source, interleaved_heads});
  }

  void finish() const {
    if (!left_.empty()) {
      fail(origin_, "tensor '{}' is unknown in this architecture", left_.begin()->first);
    }
  }

  std::vector<GgufModel::Tensor> tensors;

 private:
  std::string origin_;
  std::map<std::string, const GgufTensor*> left_;
};

struct Layout {
  bool attention_bias = false, mlp_bias = false, tied = false;
  std::int64_t vocab = 0;
};

struct Linear {
  const char* gguf_name;
  const char* hf_name;
  std::int64_t out, in;
  std::int64_t interleaved_heads;
  bool bias;
};

void add_layer(TensorTaker& taker, const Architecture& arch, const Sizes& s, const Layout& layout,
               std::int64_t layer) {
  const std::string from = fmt::format("blk.{}.", layer);
  const std::string to = fmt::format("model.layers.{}.", layer);
  const bool all_attention_bias = layout.attention_bias && arch.other_biases;
  const std::int64_t q_heads = arch.interleaved_qk ? s.heads : 0;
  const std::int64_t k_heads = arch.interleaved_qk ? s.kv_heads : 0;
  const std::int64_t q_rows = s.heads * s.head_dim, kv_rows = s.kv_heads * s.head_dim;
  const auto add_linear = [&](const Linear& l) {
    taker.add(from + l.gguf_name + ".weight", to + l.hf_name + ".weight", {l.out, l.in},
              l.interleaved_heads);
    if (l.bias) {
      taker.add(from + l.gguf_name + ".bias", to + l.hf_name + ".bias", {l.out},
                l.interleaved_heads);
    }
  };
  add_linear({"attn_q", "self_attn.q_proj", q_rows, s.hidden, q_heads, layout.attention_bias});
  add_linear({"attn_k", "self_attn.k_proj", kv_rows, s.hidden, k_heads, layout.attention_bias});
  add_linear({"attn_v", "self_attn.v_proj", kv_rows, s.hidden, 0, layout.attention_bias});
  add_linear({"attn_output", "self_attn.o_proj", s.hidden, q_rows, 0, all_attention_bias});
  if (arch.qk_norm) {
    taker.add(from + "attn_q_norm.weight", to + "self_attn.q_norm.weight", {s.head_dim});
    taker.add(from + "attn_k_norm.weight", to + "self_attn.k_norm.weight", {s.head_dim});
  }
  add_linear({"ffn_gate", "mlp.gate_proj", s.intermediate, s.hidden, 0, layout.mlp_bias});
  add_linear({"ffn_down", "mlp.down_proj", s.hidden, s.intermediate, 0, layout.mlp_bias});
  add_linear({"ffn_up", "mlp.up_proj", s.intermediate, s.hidden, 0, layout.mlp_bias});
  taker.add(from + "attn_norm.weight", to + "input_layernorm.weight", {s.hidden});
  taker.add(from + "ffn_norm.weight", to + "post_attention_layernorm.weight", {s.hidden});
}

Layout add_tensors(TensorTaker& taker, const GgufFile& file, const GgufKeys& keys,
                   const Architecture& arch, const Sizes& s) {
  // Every layer has tensors, so this also bounds the loop below.
  if (s.layers > static_cast<std::int64_t>(file.header().tensors.size())) {
    fail(keys.origin(), "got {} layers but {} tensors, expected the tensors of every layer",
         s.layers, file.header().tensors.size());
  }
  Layout layout;
  if (!taker.has("token_embd.weight")) fail(keys.origin(), "tensor 'token_embd.weight' is missing");
  for (const GgufTensor& t : file.header().tensors) {
    if (t.name == "token_embd.weight") layout.vocab = t.shape[0];
  }
  layout.attention_bias = arch.qkv_bias == Biases::kAlways ||
                          (arch.qkv_bias == Biases::kIfPresent && taker.has("blk.0.attn_q.bias"));
  layout.mlp_bias = arch.other_biases && taker.has("blk.0.ffn_gate.bias");
  layout.tied = !taker.has("output.weight");
  taker.add("token_embd.weight", "model.embed_tokens.weight", {layout.vocab, s.hidden});
  for (std::int64_t i = 0; i < s.layers; ++i) add_layer(taker, arch, s, layout, i);
  taker.add("output_norm.weight", "model.norm.weight", {s.hidden});
  if (!layout.tied) taker.add("output.weight", "lm_head.weight", {layout.vocab, s.hidden});
  return layout;
}

// Llama 3's frequency scaling as GGUF stores it: one divisor per frequency. Its parameters are not in
// the metadata; the constants are those of every published Llama 3.1, 3.2 and 3.3 model, and the
// result is checked against the tensor.
Json llama3_scaling(const GgufTensor& tensor, const GgufKeys& keys, const Sizes& s) {
  const std::string place = fmt::format("{}: tensor '{}'", keys.origin(), tensor.name);
  const std::int64_t n = s.head_dim / 2;
  if (tensor.shape != Shape{n} || tensor.type != GgufType::kF32) {
    fail(place, "got {} {}, expected F32 [{}]", gguf_type_name(tensor.type),
         shape_text(tensor.shape), n);
  }
  std::vector<float> divisors(static_cast<std::size_t>(n));
  gguf_decode(tensor, 0, divisors);
  constexpr double kLow = 1, kHigh = 4, kOriginalContext = 8192;
  const double factor = std::stod(fmt::format("{}", divisors.back()));
  double worst = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double frequency =
        std::pow(s.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(s.head_dim));
    const double turns = kOriginalContext * frequency / (2 * std::numbers::pi);
    const double smooth = std::clamp((turns - kLow) / (kHigh - kLow), 0.0, 1.0);
    const double expected = 1 / ((1 - smooth) / factor + smooth);
    const double error =
        std::abs(static_cast<double>(divisors[static_cast<std::size_t>(i)]) - expected);
    worst = std::isfinite(error) ? std::max(worst, error / expected)
                                 : std::numeric_limits<double>::infinity();
  }
  // The converter computes in float32, near the ends of the ramp with some cancellation.
  if (!(factor >= 1) || !(worst < 1e-3)) {
    fail(place,
         "these are not Llama 3's frequency factors (low 1, high 4, original context 8192), "
         "expected "
         "those or none");
  }
  if (factor == 1) return nullptr;
  return {{"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", kLow},
          {"high_freq_factor", kHigh},
          {"original_max_position_embeddings", static_cast<std::int64_t>(kOriginalContext)}};
}

Json rope_scaling(TensorTaker& taker, const GgufKeys& keys, const Architecture& arch,
                  const Sizes& s) {
  const std::string prefix = std::string(arch.name) + ".rope.scaling.";
  const std::string type = keys.find_text(prefix + "type").value_or("none");
  const bool has_factors = arch.name == "llama" && taker.has("rope_freqs.weight");
  if (type == "linear" && !has_factors) {
    const double factor = positive_number(keys, prefix + "factor", std::nullopt);
    // `type` is the older spelling of `rope_type`.
    return {{"rope_type", "linear"}, {"type", "linear"}, {"factor", factor}};
  }
  if (type != "none") {
    fail(keys.origin(), "key '{}type': got '{}', expected none or linear", prefix, type);
  }
  return has_factors ? llama3_scaling(*taker.take("rope_freqs.weight"), keys, s) : Json();
}

Json config_json(const Architecture& arch, const Sizes& s, const Layout& layout,
                 const Json& scaling, const GgufTokenizerFiles& tokenizer) {
  Json config = {{"architectures", {arch.hf_class}}, {"attention_dropout", 0.0}};
  if (arch.qkv_bias != Biases::kAlways) config["attention_bias"] = layout.attention_bias;
  if (tokenizer.bos_id) config["bos_token_id"] = *tokenizer.bos_id;
  if (tokenizer.eos_id) config["eos_token_id"] = *tokenizer.eos_id;
  config["head_dim"] = s.head_dim;
  config["hidden_act"] = "silu";
  config["hidden_size"] = s.hidden;
  config["intermediate_size"] = s.intermediate;
  config["max_position_embeddings"] = s.context;
  if (arch.other_biases) config["mlp_bias"] = layout.mlp_bias;
  config["model_type"] = arch.name;
  config["num_attention_heads"] = s.heads;
  config["num_hidden_layers"] = s.layers;
  config["num_key_value_heads"] = s.kv_heads;
  if (tokenizer.pad_id) config["pad_token_id"] = *tokenizer.pad_id;
  config["rms_norm_eps"] = s.norm_eps;
  config["rope_scaling"] = scaling;
  config["rope_theta"] = s.rope_theta;
  config["tie_word_embeddings"] = layout.tied;
  config["use_cache"] = true;
  config["vocab_size"] = layout.vocab;
  return config;
}

std::string generation_config_text(const GgufTokenizerFiles& tokenizer) {
  Json out = Json::object();
  if (tokenizer.bos_id) out["bos_token_id"] = *tokenizer.bos_id;
  // A chat model ends a turn with one token and a text with another: both stop generation.
  if (tokenizer.eos_id && tokenizer.eot_id && *tokenizer.eot_id != *tokenizer.eos_id) {
    out["eos_token_id"] = {*tokenizer.eos_id, *tokenizer.eot_id};
  } else if (tokenizer.eos_id) {
    out["eos_token_id"] = *tokenizer.eos_id;
  }
  if (tokenizer.pad_id) out["pad_token_id"] = *tokenizer.pad_id;
  return dump_json(out, 2, false, true);
}

// --- writing -----------------------------------------------------------------------------------

std::uint64_t stored_bytes(const GgufModel::Tensor& tensor, DType dtype) {
  return static_cast<std::uint64_t>(tensor.rows()) * static_cast<std::uint64_t>(tensor.cols()) *
         dtype_bytes(dtype);
}

// Consecutive tensors per shard: a new one when the size would exceed the limit, as mlx-lm does.
std::vector<std::vector<const GgufModel::Tensor*>> make_shards(const GgufModel& model,
                                                               const ImportOptions& options) {
  std::vector<std::vector<const GgufModel::Tensor*>> shards(1);
  std::uint64_t size = 0;
  for (const GgufModel::Tensor& t : model.tensors()) {
    const std::uint64_t bytes = stored_bytes(t, options.dtype);
    if (size + bytes > options.max_shard_bytes && !shards.back().empty()) {
      shards.emplace_back();
      size = 0;
    }
    shards.back().push_back(&t);
    size += bytes;
  }
  return shards;
}

std::string shard_name(std::size_t index, std::size_t count) {
  if (count == 1) return "model.safetensors";
  return fmt::format("model-{:05d}-of-{:05d}.safetensors", index + 1, count);
}

// The least magnitude that rounds to infinity.
float overflow_of(DType dtype) {
  if (dtype == DType::kF16) return 65520.0f;
  if (dtype == DType::kBF16) return 0x1.FFp127f;
  return std::numeric_limits<float>::infinity();
}

// Writes tensors in row blocks; one block of scratch per thread.
class WeightWriter {
 public:
  WeightWriter(const GgufModel& model, const std::string& origin, const ImportOptions& options,
               std::uint64_t total_bytes, ThreadPool& pool)
      : model_(model),
        origin_(origin),
        options_(options),
        pool_(pool),
        scratch_(static_cast<std::size_t>(pool.threads())),
        progress_("importing", total_bytes >> 20, "MiB", options.quiet) {
    if (options.permute_channels) {
      permutation_.emplace(parse_model_config(model.config(options.dtype), origin),
                           *options.permute_channels);
    }
  }

  void write(SafetensorsWriter& writer, std::size_t index, const GgufModel::Tensor& tensor) {
    constexpr std::int64_t kBlockElems = std::int64_t{1} << 18;
    const std::int64_t cols = tensor.cols();
    const std::int64_t rows_per_block =
        std::max<std::int64_t>(1, kBlockElems / std::max<std::int64_t>(1, cols));
    progress_.note(tensor.name);
    pool_.parallel_for(
        static_cast<std::size_t>(tensor.rows()), static_cast<std::size_t>(rows_per_block),
        [&](std::size_t begin, std::size_t end, int worker) {
          check_interrupt();
          write_block(writer, index, tensor, static_cast<std::int64_t>(begin),
                      static_cast<std::int64_t>(end), scratch_[static_cast<std::size_t>(worker)]);
        });
    model_.release(tensor);
  }

 private:
  struct Scratch {
    std::vector<float> values, row;
    std::vector<std::byte> bytes;
  };

  // Rows [begin, end) of what is written, in scratch.values.
  void read_block(const GgufModel::Tensor& tensor, std::int64_t begin, std::int64_t end,
                  Scratch& scratch) const {
    const TensorOrder order = permutation_ ? permutation_->order(tensor.name) : TensorOrder{};
    if (order.rows.empty() && order.cols.empty()) {
      model_.read_rows(tensor, begin, end - begin, scratch.values);
      return;
    }
    const auto cols = static_cast<std::size_t>(tensor.cols());
    scratch.row.resize(cols);
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t from = order.rows.empty() ? r : order.rows[static_cast<std::size_t>(r)];
      model_.read_rows(tensor, from, 1, scratch.row);
      float* to = scratch.values.data() + static_cast<std::size_t>(r - begin) * cols;
      for (std::size_t c = 0; c < cols; ++c) {
        to[c] = scratch.row[order.cols.empty() ? c : static_cast<std::size_t>(order.cols[c])];
      }
    }
  }

  void write_block(SafetensorsWriter& writer, std::size_t index, const GgufModel::Tensor& tensor,
                   std::int64_t begin, std::int64_t end, Scratch& scratch) {
    const std::int64_t first = begin * tensor.cols();
    const auto count = static_cast<std::size_t>((end - begin) * tensor.cols());
    const std::size_t item_bytes = dtype_bytes(options_.dtype);
    scratch.values.resize(count);
    scratch.bytes.resize(count * item_bytes);
    read_block(tensor, begin, end, scratch);
    const float limit = overflow_of(options_.dtype);
    for (std::size_t i = 0; i < count; ++i) {
      if (!(std::abs(scratch.values[i]) < limit)) [[unlikely]] {
        fail(fmt::format("{}: tensor '{}'", origin_, tensor.name),
             "element {} is {}, expected a finite value that {} can hold",
             first + static_cast<std::int64_t>(i), scratch.values[i],
             float_dtype_config_name(options_.dtype));
      }
    }
    store_floats(options_.dtype, scratch.values, scratch.bytes.data());
    writer.write(index, static_cast<std::uint64_t>(first) * item_bytes, scratch.bytes);
    const std::uint64_t before = done_bytes_.fetch_add(scratch.bytes.size());
    const std::uint64_t units = ((before + scratch.bytes.size()) >> 20) - (before >> 20);
    if (units > 0) progress_.advance(units);
  }

  const GgufModel& model_;
  std::string origin_;
  const ImportOptions& options_;
  ThreadPool& pool_;
  std::optional<ChannelPermutation> permutation_;
  std::vector<Scratch> scratch_;
  Progress progress_;
  std::atomic<std::uint64_t> done_bytes_{0};
};

std::string index_text(const std::map<std::string, std::string>& weight_map, std::uint64_t bytes,
                       std::int64_t parameters) {
  Json map = Json::object();
  for (const auto& [tensor, file] : weight_map) append_member(map, tensor, file);
  const Json index = {{"metadata", {{"total_size", bytes}, {"total_parameters", parameters}}},
                      {"weight_map", std::move(map)}};
  return dump_json(index, 4, false, true);
}

}  // namespace

std::int64_t GgufModel::Tensor::rows() const {
  return shape.size() == 2 || interleaved_heads > 0 ? shape[0] : 1;
}
std::int64_t GgufModel::Tensor::cols() const {
  if (shape.size() == 2) return shape[1];
  return interleaved_heads > 0 ? 1 : shape[0];
}

GgufModel::GgufModel(const std::filesystem::path& path) : file_(path) {
  const GgufKeys keys(file_.header().metadata, path.string());
  const Architecture& arch = find_architecture(keys);
  const Sizes sizes = read_sizes(keys, arch);
  TensorTaker taker(file_, keys);
  const Layout layout = add_tensors(taker, file_, keys, arch, sizes);
  const Json scaling = rope_scaling(taker, keys, arch, sizes);
  taker.finish();
  tensors_ = std::move(taker.tensors);

  const GgufTokenizerFiles tokenizer = make_tokenizer_files(keys, sizes.context);
  if (tokenizer.n_tokens > layout.vocab) {
    fail(keys.origin(), "got {} tokens for {} rows of the embedding, expected at most as many",
         tokenizer.n_tokens, layout.vocab);
  }
  config_ = config_json(arch, sizes, layout, scaling, tokenizer);
  side_files_ = {{"tokenizer.json", tokenizer.tokenizer_json},
                 {"tokenizer_config.json", tokenizer.tokenizer_config_json},
                 {"generation_config.json", generation_config_text(tokenizer)}};
  if (tokenizer.chat_template)
    side_files_.emplace_back("chat_template.jinja", *tokenizer.chat_template);
}

std::int64_t GgufModel::parameters() const {
  std::int64_t sum = 0;
  for (const Tensor& t : tensors_) sum += t.rows() * t.cols();
  return sum;
}

Json GgufModel::config(DType dtype) const {
  Json config = config_;
  config["torch_dtype"] = float_dtype_config_name(dtype);
  return config;
}

void GgufModel::read_rows(const Tensor& tensor, std::int64_t begin, std::int64_t n,
                          std::span<float> out) const {
  const auto cols = static_cast<std::size_t>(tensor.cols());
  QX_CHECK(begin >= 0 && n >= 0 && begin + n <= tensor.rows());
  QX_CHECK(out.size() == static_cast<std::size_t>(n) * cols);
  if (tensor.interleaved_heads == 0) {
    gguf_decode(*tensor.source, static_cast<std::size_t>(begin) * cols, out);
    return;
  }
  // Row 2 i + h of a head in the file is row h * (head_dim / 2) + i of that head here.
  const std::int64_t head_dim = tensor.rows() / tensor.interleaved_heads;
  for (std::int64_t r = 0; r < n; ++r) {
    const std::int64_t head = (begin + r) / head_dim, within = (begin + r) % head_dim;
    const std::int64_t half = within / (head_dim / 2), i = within % (head_dim / 2);
    const auto source = static_cast<std::size_t>(head * head_dim + 2 * i + half);
    gguf_decode(*tensor.source, source * cols,
                out.subspan(static_cast<std::size_t>(r) * cols, cols));
  }
}

void GgufModel::release(const Tensor& tensor) const {
  const auto offset = tensor.source->data.data() - file_.file().bytes().data();
  file_.file().release(static_cast<std::size_t>(offset), tensor.source->data.size());
}

ImportReport import_gguf(const std::filesystem::path& source, const std::filesystem::path& target,
                         const ImportOptions& options, ThreadPool& pool) {
  QX_CHECK(is_float_dtype(options.dtype));
  require_replaceable(target, options.force, {source});
  const GgufModel model(source);
  ImportReport report;
  const Json config = model.config(options.dtype);
  report.model_type = config["model_type"].get<std::string>();
  report.parameters = model.parameters();
  report.tensor_bytes = static_cast<std::uint64_t>(report.parameters) * dtype_bytes(options.dtype);

  std::uint64_t needed = report.tensor_bytes + (std::uint64_t{1} << 20);
  for (const auto& [name, text] : model.side_files()) needed += text.size();
  StagedDirectory staged(target, options.force);
  check_disk_space(staged.path(), needed);
  const auto shards = make_shards(model, options);
  std::map<std::string, std::string> weight_map;
  {
    WeightWriter weights(model, source.string(), options, report.tensor_bytes, pool);
    for (std::size_t s = 0; s < shards.size(); ++s) {
      const std::string name = shard_name(s, shards.size());
      std::vector<SafetensorsWriter::Entry> entries;
      for (const GgufModel::Tensor* t : shards[s]) {
        entries.push_back({t->name, options.dtype, t->shape});
        weight_map.emplace(t->name, name);
      }
      SafetensorsWriter writer(staged.path() / name, std::move(entries), {{"format", "pt"}});
      for (std::size_t i = 0; i < shards[s].size(); ++i) weights.write(writer, i, *shards[s][i]);
      writer.finish();
      report.files.push_back(name);
    }
  }
  std::vector<std::pair<std::string, std::string>> texts = model.side_files();
  texts.emplace_back("config.json", dump_json(config, 4, true, true));
  texts.emplace_back("model.safetensors.index.json",
                     index_text(weight_map, report.tensor_bytes, report.parameters));
  for (const auto& [name, text] : texts) {
    write_file_atomic(staged.path() / name, text, false);
    report.files.push_back(name);
  }
  std::sort(report.files.begin(), report.files.end());
  staged.commit();
  return report;
}

}  // namespace qx
