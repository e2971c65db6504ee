// SPDX-License-Identifier: Apache-2.0
#include "arch/catalog.h"

#include <string_view>

#include "base/error.h"

namespace qx {
namespace {

struct LinearShape {
  std::int64_t out, in;
};

class Builder {
 public:
  explicit Builder(const ModelConfig& config) : c_(config) {}

  std::vector<CatalogTensor> build() {
    linear("model.embed_tokens", {c_.vocab_size, c_.hidden_size}, Role::kEmbedding, false);
    for (std::int64_t i = 0; i < c_.num_hidden_layers; ++i) layer(static_cast<int>(i));
    layer_ = -1;
    norm("model.norm", c_.hidden_size);
    if (!c_.tie_word_embeddings) {
      linear("lm_head", {c_.vocab_size, c_.hidden_size}, Role::kHead, false);
    }
    return std::move(tensors_);
  }

 private:
  void layer(int index) {
    layer_ = index;
    const std::string prefix = fmt::format("model.layers.{}.", index);
    const std::int64_t h = c_.hidden_size, m = c_.intermediate_size;
    const std::int64_t q = c_.num_attention_heads * c_.head_dim;
    const std::int64_t kv = c_.num_key_value_heads * c_.head_dim;
    linear(prefix + "self_attn.q_proj", {q, h}, Role::kAttentionQ, c_.attention_bias);
    linear(prefix + "self_attn.k_proj", {kv, h}, Role::kAttentionK, c_.attention_bias);
    linear(prefix + "self_attn.v_proj", {kv, h}, Role::kAttentionV, c_.attention_bias);
    linear(prefix + "self_attn.o_proj", {h, q}, Role::kAttentionO, c_.attention_out_bias);
    if (c_.qk_norm) {
      norm(prefix + "self_attn.q_norm", c_.head_dim);
      norm(prefix + "self_attn.k_norm", c_.head_dim);
    }
    linear(prefix + "mlp.gate_proj", {m, h}, Role::kMlpGate, c_.mlp_bias);
    linear(prefix + "mlp.down_proj", {h, m}, Role::kMlpDown, c_.mlp_bias);
    linear(prefix + "mlp.up_proj", {m, h}, Role::kMlpUp, c_.mlp_bias);
    norm(prefix + "input_layernorm", h);
    norm(prefix + "post_attention_layernorm", h);
  }

  void linear(const std::string& module, LinearShape shape, Role role, bool bias) {
    tensors_.push_back({module + ".weight", module, {shape.out, shape.in}, role, layer_, true});
    if (bias) {
      tensors_.push_back({module + ".bias", module, {shape.out}, Role::kBias, layer_, false});
    }
  }

  void norm(const std::string& module, std::int64_t width) {
    tensors_.push_back({module + ".weight", module, {width}, Role::kNorm, layer_, false});
  }

  const ModelConfig& c_;
  std::vector<CatalogTensor> tensors_;
  int layer_ = -1;
};

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kEmbedding:
      return "embedding";
    case Role::kHead:
      return "head";
    case Role::kAttentionQ:
      return "q";
    case Role::kAttentionK:
      return "k";
    case Role::kAttentionV:
      return "v";
    case Role::kAttentionO:
      return "o";
    case Role::kMlpGate:
      return "gate";
    case Role::kMlpUp:
      return "up";
    case Role::kMlpDown:
      return "down";
    case Role::kRouter:
      return "router";
    case Role::kExpert:
      return "expert";
    case Role::kNorm:
      return "norm";
    case Role::kBias:
      return "bias";
  }
  QX_CHECK(false && "unknown role");
  return "";
}

std::vector<CatalogTensor> tensor_catalog(const ModelConfig& config) {
  return Builder(config).build();
}

std::int64_t parameter_count(const std::vector<CatalogTensor>& catalog) {
  std::int64_t total = 0;
  for (const CatalogTensor& tensor : catalog) {
    const auto count = element_count(tensor.shape);
    QX_CHECK(count.has_value());
    total += *count;
  }
  return total;
}

}  // namespace qx
