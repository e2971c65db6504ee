// SPDX-License-Identifier: Apache-2.0
#include "model/weights.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "arch/catalog.h"
#include "base/error.h"
#include "base/machine_memory.h"
#include "quant/affine.h"
#include "quant/kernel_kinds.h"

namespace qx {
namespace {

// Smaller models are in the cache of the disk or there in no time.
constexpr std::size_t kMinPrefetchBytes = std::size_t{16} << 20;

struct LinearSlot {
  std::string_view name;
  Linear LayerWeights::*field;
};
constexpr LinearSlot kLinears[] = {
    {"self_attn.q_proj", &LayerWeights::q}, {"self_attn.k_proj", &LayerWeights::k},
    {"self_attn.v_proj", &LayerWeights::v}, {"self_attn.o_proj", &LayerWeights::o},
    {"mlp.gate_proj", &LayerWeights::gate}, {"mlp.up_proj", &LayerWeights::up},
    {"mlp.down_proj", &LayerWeights::down},
};

struct NormSlot {
  std::string_view name;
  std::vector<float> LayerWeights::*field;
};
constexpr NormSlot kNorms[] = {
    {"input_layernorm", &LayerWeights::input_norm},
    {"post_attention_layernorm", &LayerWeights::post_norm},
    {"self_attn.q_norm", &LayerWeights::q_norm},
    {"self_attn.k_norm", &LayerWeights::k_norm},
};

// "model.layers.3.mlp.up_proj" -> "mlp.up_proj"; the whole name outside the layers.
std::string_view inside_layer(const CatalogTensor& tensor) {
  const std::string_view module = tensor.module;
  if (tensor.layer < 0) return module;
  const std::string prefix = fmt::format("model.layers.{}.", tensor.layer);
  QX_CHECK(module.starts_with(prefix));
  return module.substr(prefix.size());
}

class Loader {
 public:
  explicit Loader(const std::filesystem::path& directory)
      : weights_(std::make_unique<ModelWeights>()) {
    weights_->place = directory.string();
    weights_->config = load_model_config(directory);
    check_config();
    weights_->files = std::make_unique<Checkpoint>(directory);
    for (const std::string& problem : weights_->files->problems()) {
      // Every directory that mlx-lm writes has unaligned data; running it is no time to say so.
      if (problem.find("not aligned") == std::string::npos) weights_->warnings.push_back(problem);
    }
  }

  std::unique_ptr<ModelWeights> load() {
    ModelWeights& w = *weights_;
    w.layers.resize(static_cast<std::size_t>(w.config.num_hidden_layers));
    for (const CatalogTensor& tensor : tensor_catalog(w.config)) place_tensor(tensor);
    if (w.config.tie_word_embeddings) {
      w.head = w.embedding;
      in_order_.insert(in_order_.end(), embedding_.begin(), embedding_.end());
    }
    check_unexpected();
    for (const auto& [text, at] : conflicts_) {
      w.warnings.push_back(at.count == 1
                               ? fmt::format("{}: {}", at.first, text)
                               : fmt::format("{} and {} more: {}", at.first, at.count - 1, text));
    }
    start_prefetch();
    return std::move(weights_);
  }

 private:
  // Waiting for one page fault after the other takes longer than reading the file. A table that
  // only embeds is left out: a few rows of it are read. Where memory is short, reading ahead would
  // drop what is needed first.
  void start_prefetch() {
    std::size_t bytes = 0;
    for (const auto& range : in_order_) bytes += range.size();
    if (bytes < kMinPrefetchBytes) return;
    if (static_cast<std::int64_t>(bytes) > machine_memory().available) return;
    weights_->prefetch = std::make_unique<PagePrefetch>(std::move(in_order_));
  }

  void check_config() const {
    const ModelConfig& c = weights_->config;
    if (c.head_dim < 2 || c.head_dim % 2 != 0) {
      fail(weights_->place + "/config.json", "got head_dim {}, expected an even number",
           c.head_dim);
    }
    if (c.quantization) refuse_mode(c.quantization->global, "all modules");
  }

  void refuse_mode(const QuantEntry& entry, std::string_view module) const {
    if (entry.is_float || entry.mode == "affine") return;
    fail(weights_->place + "/config.json",
         "{} stored in mode '{}', which is not supported yet; expected 'affine' or float weights",
         module, entry.mode);
  }

  std::string at(std::string_view tensor) const {
    return fmt::format("{}: {}", weights_->place, tensor);
  }

  const TensorView& take(const std::string& name) {
    used_.insert(name);
    const TensorView* view = weights_->files->find(name);
    if (view == nullptr) {
      fail(at(name), "no such tensor, expected one for this config.json");
    }
    return *view;
  }

  void check_shape(const TensorView& view, const Shape& expected) const {
    if (view.shape == expected) return;
    fail(at(view.name), "got shape {}, expected {}", shape_text(view.shape), shape_text(expected));
  }

  void check_float(const TensorView& view) const {
    if (is_float_dtype(view.dtype)) return;
    fail(at(view.name), "got dtype {}, expected BF16, F16 or F32", dtype_name(view.dtype));
  }

  std::vector<float> float_vector(const CatalogTensor& tensor) {
    const TensorView& view = take(tensor.name);
    check_float(view);
    check_shape(view, tensor.shape);
    std::vector<float> values(view.data.size() / dtype_bytes(view.dtype));
    load_floats(view.dtype, view.data.data(), 0, values);
    return values;
  }

  void place_tensor(const CatalogTensor& tensor) {
    if (tensor.role == Role::kNorm) {
      norm_place(*weights_, tensor) = float_vector(tensor);
    } else if (tensor.role == Role::kBias) {
      linear_place(*weights_, tensor).bias = float_vector(tensor);
    } else {
      linear_place(*weights_, tensor).rows = matrix(tensor);
      auto& ranges = tensor.module == "model.embed_tokens" ? embedding_ : in_order_;
      for (const char* part : {".weight", ".scales", ".biases"}) {
        const TensorView* view = weights_->files->find(tensor.module + part);
        if (view != nullptr) ranges.push_back(view->data);
      }
    }
  }

  WeightRows matrix(const CatalogTensor& tensor) {
    const bool scales = weights_->files->find(tensor.module + ".scales") != nullptr;
    const QuantEntry* entry = config_entry(tensor.module);
    if (scales && tensor.quantizable) return affine_matrix(tensor, entry);
    const TensorView& view = take(tensor.name);
    if (view.dtype == DType::kU32 && tensor.quantizable) {
      fail(at(tensor.module + ".scales"), "no such tensor, expected one beside the U32 weight");
    }
    check_float(view);
    check_shape(view, tensor.shape);
    if (entry != nullptr && !entry->is_float) {
      conflict("config.json says quantized, the file holds float weights; the file is used",
               tensor.module);
    }
    WeightRows rows;
    rows.kind = weight_kind_of(view.dtype);
    rows.rows = tensor.shape.at(0);
    rows.cols = tensor.shape.at(1);
    rows.values = view.data.data();
    return rows;
  }

  WeightRows affine_matrix(const CatalogTensor& tensor, const QuantEntry* entry) {
    const TensorView& scales = take(tensor.module + ".scales");
    if (entry != nullptr) refuse_mode(*entry, tensor.module);
    const TensorView& codes = take(tensor.name);
    if (scales.dtype == DType::kU8) refuse_float_code(tensor, codes, scales);
    check_float(scales);
    if (codes.dtype != DType::kU32) {
      fail(at(tensor.name), "got dtype {} beside scales, expected U32", dtype_name(codes.dtype));
    }
    const std::int64_t out = tensor.shape.at(0), in = tensor.shape.at(1);
    if (codes.shape.size() != 2 || codes.shape[0] != out) {
      fail(at(tensor.name), "got shape {}, expected [{}, {} * bits / 32]", shape_text(codes.shape),
           out, in);
    }
    if (scales.shape.size() != 2 || scales.shape[0] != out) {
      fail(at(scales.name), "got shape {}, expected [{}, {} / group]", shape_text(scales.shape),
           out, in);
    }
    const TensorView& biases = take(tensor.module + ".biases");
    check_shape(biases, scales.shape);
    if (biases.dtype != scales.dtype) {
      fail(at(biases.name), "got dtype {}, expected {} as the scales have",
           dtype_name(biases.dtype), dtype_name(scales.dtype));
    }
    const auto spec = infer_affine_spec(codes.shape[1], scales.shape[1], in);
    if (!spec) {
      fail(at(tensor.name),
           "got {} words and {} scales a row of {} weights, expected 2, 3, 4, 5, 6 or 8 bits in "
           "groups of 32, 64 or 128",
           codes.shape[1], scales.shape[1], in);
    }
    compare_with_config(tensor.module, *spec);
    WeightRows rows;
    rows.kind = WeightKind::kAffine;
    rows.scale_kind = scale_kind_of(scales.dtype);
    rows.bits = spec->bits;
    rows.group = spec->group;
    rows.rows = out;
    rows.cols = in;
    rows.values = codes.data.data();
    rows.scales = scales.data.data();
    rows.biases = biases.data.data();
    return rows;
  }

  [[noreturn]] void refuse_float_code(const CatalogTensor& tensor, const TensorView& codes,
                                      const TensorView& scales) const {
    std::string_view mode = "mxfp4, nvfp4 or mxfp8";
    if (codes.shape.size() == 2 && scales.shape.size() == 2 && tensor.shape.size() == 2) {
      const std::int64_t in = tensor.shape[1];
      if (codes.shape[1] == in / 4) mode = "mxfp8";
      if (codes.shape[1] == in / 8) mode = scales.shape[1] == in / 16 ? "nvfp4" : "mxfp4";
    }
    fail(at(tensor.name), "stored as {}, which is not supported yet; expected affine or float",
         mode);
  }

  // The module's own entry, else nothing: the global one is compared only where tensors are
  // quantized.
  const QuantEntry* config_entry(const std::string& module) const {
    const auto& quantization = weights_->config.quantization;
    if (!quantization) return nullptr;
    const auto found = quantization->modules.find(module);
    return found == quantization->modules.end() ? nullptr : &found->second;
  }

  void compare_with_config(const std::string& module, AffineSpec spec) {
    const auto& quantization = weights_->config.quantization;
    if (!quantization) {
      conflict("config.json has no quantization, the file holds quantized weights; they are used",
               module);
      return;
    }
    const QuantEntry* own = config_entry(module);
    const QuantEntry& entry = own != nullptr ? *own : quantization->global;
    if (entry.is_float) {
      conflict("config.json says float, the file holds quantized weights; they are used", module);
      return;
    }
    // What mlx-lm takes for an absent number (spec of its config.json).
    const AffineSpec said{entry.bits.value_or(4), entry.group_size.value_or(64)};
    if (said == spec) return;
    conflict(fmt::format("config.json says {} bits in groups of {}, the file holds {} bits in "
                         "groups of {}; the file is used",
                         said.bits, said.group, spec.bits, spec.group),
             module);
  }

  void conflict(const std::string& text, const std::string& module) {
    Conflict& c = conflicts_[text];
    if (c.count++ == 0) c.first = module;
  }

  void check_unexpected() const {
    for (const TensorView* view : weights_->files->tensors()) {
      if (used_.contains(view->name)) continue;
      if (view->name.ends_with("rotary_emb.inv_freq")) continue;
      if (weights_->config.tie_word_embeddings && view->name == "lm_head.weight") continue;
      fail(at(view->name), "unexpected tensor, expected none of this name in a {} model",
           weights_->config.model_type);
    }
  }

  struct Conflict {
    std::string first;
    int count = 0;
  };
  std::unique_ptr<ModelWeights> weights_;
  std::set<std::string, std::less<>> used_;
  std::vector<std::span<const std::byte>> in_order_, embedding_;  // bytes of matrices, as used
  std::map<std::string, Conflict> conflicts_;  // by text: one warning for many modules
};

}  // namespace

std::unique_ptr<ModelWeights> load_weights(const std::filesystem::path& directory) {
  return Loader(directory).load();
}

Linear& linear_place(ModelWeights& weights, const CatalogTensor& tensor) {
  if (tensor.module == "model.embed_tokens") return weights.embedding;
  if (tensor.module == "lm_head") return weights.head;
  const std::string_view name = inside_layer(tensor);
  for (const LinearSlot& slot : kLinears) {
    if (slot.name == name) {
      return weights.layers.at(static_cast<std::size_t>(tensor.layer)).*slot.field;
    }
  }
  throw InternalError(fmt::format("the model has no place for {}", tensor.name));
}

std::vector<float>& norm_place(ModelWeights& weights, const CatalogTensor& tensor) {
  if (tensor.module == "model.norm") return weights.norm;
  const std::string_view name = inside_layer(tensor);
  for (const NormSlot& slot : kNorms) {
    if (slot.name == name) {
      return weights.layers.at(static_cast<std::size_t>(tensor.layer)).*slot.field;
    }
  }
  throw InternalError(fmt::format("the model has no place for {}", tensor.name));
}

std::int64_t stored_bytes(const WeightRows& w) {
  if (w.kind != WeightKind::kAffine) return w.rows * w.cols * (w.kind == WeightKind::kF32 ? 4 : 2);
  const std::int64_t scale = w.scale_kind == ScaleKind::kF32 ? 4 : 2;
  return w.rows *
         (code_bytes_per_row(w.cols, w.bits) + 2 * scale * groups_per_row(w.cols, w.group));
}

TokenCost token_cost(const ModelWeights& weights) {
  TokenCost cost;
  for (const LayerWeights& layer : weights.layers) {
    for (const LinearSlot& slot : kLinears) {
      const WeightRows& rows = (layer.*slot.field).rows;
      cost.weight_bytes += stored_bytes(rows);
      cost.layer_macs += rows.rows * rows.cols;
    }
  }
  if (!weights.layers.empty()) {
    const LayerWeights& last = weights.layers.back();
    for (const Linear* linear : {&last.o, &last.gate, &last.up, &last.down}) {
      cost.last_layer_macs += linear->rows.rows * linear->rows.cols;
    }
  }
  cost.weight_bytes += stored_bytes(weights.head.rows);
  const WeightRows& embedding = weights.embedding.rows;
  if (embedding.rows > 0) cost.weight_bytes += stored_bytes(embedding) / embedding.rows;
  return cost;
}

}  // namespace qx
