// Names, order, shapes and counts of a model's tensors, against published models.
// SPDX-License-Identifier: Apache-2.0
#include "arch/catalog.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace qx {
namespace {

std::vector<CatalogTensor> catalog_of(const char* text) {
  return tensor_catalog(parse_model_config(parse_json(text, "test"), "test"));
}

constexpr const char* kQwen3Small = R"({"model_type":"qwen3","hidden_size":1024,
  "intermediate_size":3072,"num_hidden_layers":28,"num_attention_heads":16,
  "num_key_value_heads":8,"head_dim":128,"vocab_size":151936,"tie_word_embeddings":true})";

// Parameter counts as Hugging Face shows them for the published checkpoints.
TEST(Catalog, CountsPublishedModels) {
  EXPECT_EQ(parameter_count(catalog_of(kQwen3Small)), 596049920);
  EXPECT_EQ(parameter_count(catalog_of(R"({"model_type":"qwen3","hidden_size":4096,
    "intermediate_size":12288,"num_hidden_layers":36,"num_attention_heads":32,
    "num_key_value_heads":8,"head_dim":128,"vocab_size":151936,"tie_word_embeddings":false})")),
            8190735360);
  EXPECT_EQ(parameter_count(catalog_of(R"({"model_type":"llama","hidden_size":576,
    "intermediate_size":1536,"num_hidden_layers":30,"num_attention_heads":9,
    "num_key_value_heads":3,"vocab_size":49152,"tie_word_embeddings":true})")),
            134515008);
  EXPECT_EQ(parameter_count(catalog_of(R"({"model_type":"llama","hidden_size":2048,
    "intermediate_size":8192,"num_hidden_layers":16,"num_attention_heads":32,
    "num_key_value_heads":8,"head_dim":64,"vocab_size":128256,"tie_word_embeddings":true})")),
            1235814400);
  EXPECT_EQ(parameter_count(catalog_of(R"({"model_type":"qwen2","hidden_size":896,
    "intermediate_size":4864,"num_hidden_layers":24,"num_attention_heads":14,
    "num_key_value_heads":2,"vocab_size":151936,"tie_word_embeddings":true})")),
            494032768);
}

TEST(Catalog, OrderIsThatOfMlx) {
  const auto catalog = catalog_of(R"({"model_type":"qwen3","hidden_size":64,
    "intermediate_size":128,"num_hidden_layers":1,"num_attention_heads":4,
    "num_key_value_heads":2,"head_dim":32,"vocab_size":100,"tie_word_embeddings":false})");
  std::vector<std::string> names;
  for (const CatalogTensor& tensor : catalog) names.push_back(tensor.name);
  const std::string l = "model.layers.0.";
  EXPECT_EQ(
      names,
      (std::vector<std::string>{
          "model.embed_tokens.weight", l + "self_attn.q_proj.weight", l + "self_attn.k_proj.weight",
          l + "self_attn.v_proj.weight", l + "self_attn.o_proj.weight",
          l + "self_attn.q_norm.weight", l + "self_attn.k_norm.weight", l + "mlp.gate_proj.weight",
          l + "mlp.down_proj.weight", l + "mlp.up_proj.weight", l + "input_layernorm.weight",
          l + "post_attention_layernorm.weight", "model.norm.weight", "lm_head.weight"}));
  EXPECT_EQ(catalog[1].shape, (Shape{128, 64}));
  EXPECT_EQ(catalog[2].shape, (Shape{64, 64}));
  EXPECT_EQ(catalog[4].shape, (Shape{64, 128}));
  EXPECT_EQ(catalog[5].shape, (Shape{32}));
  EXPECT_EQ(catalog[8].shape, (Shape{64, 128}));
  EXPECT_EQ(catalog[8].role, Role::kMlpDown);
  EXPECT_EQ(catalog[8].layer, 0);
  EXPECT_EQ(catalog[8].module, l + "mlp.down_proj");
  EXPECT_EQ(catalog.back().layer, -1);
  EXPECT_TRUE(catalog.back().quantizable);
  EXPECT_FALSE(catalog[5].quantizable);
}

TEST(Catalog, BiasesFollowTheFamily) {
  const auto biases = [](const std::string& family, const std::string& keys) {
    std::vector<std::string> names;
    for (const CatalogTensor& tensor : catalog_of((R"({"model_type":")" + family + R"(",
      "hidden_size":64,"intermediate_size":128,"num_hidden_layers":1,"num_attention_heads":4,
      "num_key_value_heads":2,"head_dim":16,"vocab_size":100)" +
                                                   keys + "}")
                                                      .c_str())) {
      if (tensor.role != Role::kBias) continue;
      EXPECT_FALSE(tensor.quantizable);
      names.push_back(tensor.module.substr(tensor.module.rfind('.') + 1));
    }
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(biases("qwen2", ""), (Names{"q_proj", "k_proj", "v_proj"}));
  EXPECT_EQ(biases("qwen3", ""), Names{});
  EXPECT_EQ(biases("llama", ""), Names{});
  EXPECT_EQ(biases("llama", R"(,"attention_bias":true)"),
            (Names{"q_proj", "k_proj", "v_proj", "o_proj"}));
  EXPECT_EQ(biases("llama", R"(,"mlp_bias":true)"), (Names{"gate_proj", "down_proj", "up_proj"}));
}

TEST(Catalog, TiedHeadIsNotListed) {
  const auto catalog = catalog_of(kQwen3Small);
  EXPECT_EQ(catalog.back().name, "model.norm.weight");
  EXPECT_EQ(std::count_if(catalog.begin(), catalog.end(),
                          [](const CatalogTensor& t) { return t.role == Role::kHead; }),
            0);
}

}  // namespace
}  // namespace qx
