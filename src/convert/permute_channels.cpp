// SPDX-License-Identifier: Apache-2.0
#include "convert/permute_channels.h"

#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/random.h"

namespace qx {
namespace {

using Order = std::vector<std::int64_t>;

// Fisher and Yates.
Order shuffled(std::int64_t n, Random& random) {
  Order order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[static_cast<std::size_t>(random.below(i))]);
  }
  return order;
}

struct LayerOrders {
  Order mlp;
  Order value;   // of v's rows: kv_heads * head_dim
  Order output;  // of o's columns: heads * head_dim
};

LayerOrders layer_orders(const ModelConfig& c, Random& random) {
  LayerOrders out;
  out.mlp = shuffled(c.intermediate_size, random);
  std::vector<Order> within;
  for (std::int64_t h = 0; h < c.num_key_value_heads; ++h) {
    within.push_back(shuffled(c.head_dim, random));
    for (const std::int64_t i : within.back()) out.value.push_back(h * c.head_dim + i);
  }
  const std::int64_t share = c.num_attention_heads / c.num_key_value_heads;
  for (std::int64_t h = 0; h < c.num_attention_heads; ++h) {
    for (const std::int64_t i : within[static_cast<std::size_t>(h / share)]) {
      out.output.push_back(h * c.head_dim + i);
    }
  }
  return out;
}

bool ends_with(const CatalogTensor& t, std::string_view module) {
  return std::string_view(t.module).ends_with(module);
}

// The order of what a linear puts out, by its module; empty for q and k.
Order output_order(const CatalogTensor& t, const LayerOrders& layer, const Order& hidden) {
  if (ends_with(t, ".v_proj")) return layer.value;
  if (ends_with(t, ".gate_proj") || ends_with(t, ".up_proj")) return layer.mlp;
  if (ends_with(t, ".o_proj") || ends_with(t, ".down_proj")) return hidden;
  return {};
}

}  // namespace

ChannelPermutation::ChannelPermutation(const ModelConfig& config, std::uint64_t seed) {
  Random random(seed);
  const Order hidden = shuffled(config.hidden_size, random);
  std::vector<LayerOrders> layers;
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers.push_back(layer_orders(config, random));
  }
  for (const CatalogTensor& t : tensor_catalog(config)) {
    TensorOrder order;
    switch (t.role) {
      case Role::kEmbedding:
      case Role::kHead:
        order.cols = hidden;
        break;
      case Role::kNorm:
        // The norms of single heads act on q and k, which stay.
        if (!ends_with(t, ".q_norm") && !ends_with(t, ".k_norm")) order.cols = hidden;
        break;
      case Role::kBias:
        order.cols = output_order(t, layers[static_cast<std::size_t>(t.layer)], hidden);
        break;
      default: {
        const LayerOrders& layer = layers[static_cast<std::size_t>(t.layer)];
        order.rows = output_order(t, layer, hidden);
        order.cols = t.role == Role::kAttentionO ? layer.output
                     : t.role == Role::kMlpDown  ? layer.mlp
                                                 : hidden;
      }
    }
    orders_.emplace(t.name, std::move(order));
  }
}

const TensorOrder& ChannelPermutation::order(const std::string& tensor) const {
  const auto found = orders_.find(tensor);
  QX_CHECK(found != orders_.end());
  return found->second;
}

}  // namespace qx
