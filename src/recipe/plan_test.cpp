// Plans of the shipped recipes: maps, exact bytes against hand-computed sums, hash, JSON, lint.
// SPDX-License-Identifier: Apache-2.0
#include "recipe/plan.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "recipe/recipe.h"
#include "recipe/resolve.h"

namespace qx {
namespace {

ModelConfig config_of(const std::string& text) {
  return parse_model_config(parse_json(text, "test"), "test");
}

ModelConfig qwen3(int layers, bool tied, int hidden = 128) {
  return config_of(fmt::format(R"({{"model_type":"qwen3","hidden_size":{},"intermediate_size":384,
    "num_hidden_layers":{},"num_attention_heads":4,"num_key_value_heads":2,"head_dim":64,
    "vocab_size":1000,"tie_word_embeddings":{},"torch_dtype":"bfloat16"}})",
                               hidden, layers, tied));
}

ModelConfig qwen3_8b() {
  return config_of(R"({"model_type":"qwen3","hidden_size":4096,"intermediate_size":12288,
    "num_hidden_layers":36,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,
    "vocab_size":151936,"tie_word_embeddings":false,"rope_theta":1000000,
    "torch_dtype":"bfloat16"})");
}

Plan plan_of(const ModelConfig& config, const std::string& recipe) {
  PlanRequest request;
  request.recipe = recipe;
  return make_plan(config, request);
}

const PlanRow& row(const Plan& plan, const std::string& module) {
  for (const PlanRow& r : plan.rows) {
    if (r.tensor.name == module + ".weight") return r;
  }
  throw std::runtime_error("no row " + module);
}

int bits(const Plan& plan, const std::string& module) {
  const PlanRow& r = row(plan, module);
  return r.affine ? r.affine->bits : 0;
}

std::string layer(int i, const std::string& rest) {
  return fmt::format("model.layers.{}.{}", i, rest);
}

template <typename F>
std::string usage_error(F&& body) {
  try {
    body();
  } catch (const UsageError& e) {
    return e.what();
  }
  ADD_FAILURE() << "no UsageError";
  return "";
}

bool warns(const Plan& plan, const std::string& part) {
  for (const std::string& warning : plan.warnings) {
    if (warning.find(part) != std::string::npos) return true;
  }
  return false;
}

TEST(Plan, UniformBytesByHand) {
  // Qwen3-8B: quantized weights 151936*4096*2 + 36*(4096*4096*2 + 1024*4096*2 + 12288*4096*3);
  // norms 36*(2*4096 + 2*128) + 4096. q4-hi: 4 + 32/32 = 5 bits a weight.
  constexpr std::int64_t kQuantized = 8190427136, kNorms = 308224;
  const Plan hi = plan_of(qwen3_8b(), "q4-hi");
  EXPECT_EQ(hi.parameters, kQuantized + kNorms);
  EXPECT_EQ(hi.tensor_bytes, kQuantized * 5 / 8 + kNorms * 2);
  EXPECT_DOUBLE_EQ(hi.bits_per_weight, 8.0 * static_cast<double>(hi.tensor_bytes) / 8190735360.0);
  EXPECT_EQ(plan_of(qwen3_8b(), "q4").tensor_bytes, kQuantized * 9 / 16 + kNorms * 2);
  EXPECT_EQ(plan_of(qwen3_8b(), "bf16").tensor_bytes, (kQuantized + kNorms) * 2);
  EXPECT_EQ(plan_of(qwen3_8b(), "f32").tensor_bytes, (kQuantized + kNorms) * 4);
  EXPECT_TRUE(hi.warnings.empty());
  EXPECT_TRUE(hi.quantizes);
  EXPECT_FALSE(plan_of(qwen3_8b(), "bf16").quantizes);
}

TEST(Plan, DeckardBytesByHand) {
  // High (6 bits, group 32: 7 bits a weight): embeddings and head, attention of layers 0 4 .. 32 and
  // 35, that is 10. Low (3 bits: 4 bits a weight): all else.
  constexpr std::int64_t kTables = 2LL * 151936 * 4096;
  constexpr std::int64_t kAttention = 2LL * 4096 * 4096 + 2LL * 1024 * 4096;
  constexpr std::int64_t kMlp = 3LL * 12288 * 4096;
  constexpr std::int64_t kNorms = 36LL * (2 * 4096 + 2 * 128) + 4096;
  const std::int64_t high = kTables + 10 * kAttention;
  const std::int64_t low = 26 * kAttention + 36 * kMlp;
  const Plan plan = plan_of(qwen3_8b(), "qx63-hi");
  EXPECT_EQ(plan.tensor_bytes, high * 7 / 8 + low * 4 / 8 + kNorms * 2);
  for (int i = 0; i < 36; ++i) {
    const int expected = i % 4 == 0 || i == 35 ? 6 : 3;
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
      EXPECT_EQ(bits(plan, layer(i, "self_attn." + std::string(name))), expected) << i;
    }
    EXPECT_EQ(bits(plan, layer(i, "mlp.down_proj")), 3);
  }
  EXPECT_EQ(row(plan, "lm_head").rule, "qx63-hi: embeddings and head");
  EXPECT_EQ(row(plan, layer(1, "mlp.up_proj")).rule, "qx63-hi: data");
  const Plan all = plan_of(qwen3_8b(), "qx63x-hi");
  for (int i = 0; i < 36; ++i) EXPECT_EQ(bits(all, layer(i, "self_attn.v_proj")), 6);
  EXPECT_EQ(bits(all, layer(0, "mlp.gate_proj")), 3);
  EXPECT_EQ(row(plan_of(qwen3_8b(), "qx63"), "lm_head").affine->group, 64);
}

TEST(Plan, DeckardOfOneLayerAndTied) {
  const Plan plan = plan_of(qwen3(1, true), "qx85");
  EXPECT_EQ(bits(plan, layer(0, "self_attn.q_proj")), 8);
  EXPECT_EQ(bits(plan, "model.embed_tokens"), 8);
  EXPECT_EQ(bits(plan, layer(0, "mlp.up_proj")), 5);
  EXPECT_TRUE(plan.warnings.empty());
  const Plan six = plan_of(qwen3(6, true), "qx85");
  const std::set<int> high{0, 4, 5};
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(bits(six, layer(i, "self_attn.k_proj")), high.contains(i) ? 8 : 5) << i;
  }
}

// The layers that mlx-lm's use_more_bits picks, worked out by hand.
TEST(Plan, MixedLayers) {
  const std::map<int, std::set<int>> more{
      {1, {0}}, {2, {1}}, {5, {2, 4}}, {9, {0, 3, 6, 7, 8}}, {16, {0, 1, 4, 7, 10, 13, 14, 15}},
  };
  for (const auto& [layers, high] : more) {
    const Plan plan = plan_of(qwen3(layers, false), "mixed_3_6");
    for (int i = 0; i < layers; ++i) {
      const int expected = high.contains(i) ? 6 : 3;
      EXPECT_EQ(bits(plan, layer(i, "self_attn.v_proj")), expected) << layers << " " << i;
      EXPECT_EQ(bits(plan, layer(i, "mlp.down_proj")), expected) << layers << " " << i;
      EXPECT_EQ(bits(plan, layer(i, "self_attn.k_proj")), 3);
    }
    EXPECT_EQ(bits(plan, "lm_head"), 6);
    EXPECT_EQ(bits(plan, "model.embed_tokens"), 3);
  }
}

TEST(Plan, MixedNamesEveryModuleAndHasNoNull) {
  const Plan plan = plan_of(qwen3(4, false), "mixed_2_6");
  const Json map = quantization_json(plan);
  EXPECT_EQ(map["bits"], 4);
  EXPECT_EQ(map["group_size"], 64);
  EXPECT_EQ(map["mode"], "affine");
  EXPECT_EQ(map.size(), 3u + 4 * 7 + 2);
  for (const auto& item : map.items()) {
    if (item.value().is_object()) {
      EXPECT_EQ(item.value()["group_size"], 64);
    }
  }
  // Also where a rule gives what the global entry says, 4 bits at group 64.
  EXPECT_EQ(quantization_json(plan_of(qwen3(4, false), "mixed_4_6")).size(), 3u + 4 * 7 + 2);
  PlanRequest request;
  request.recipe = "mixed_2_6";
  request.group_size = 32;
  const Json map32 = quantization_json(make_plan(qwen3(4, false), request));
  EXPECT_EQ(map32["group_size"], 32);
  EXPECT_EQ(map32["lm_head"], (Json{{"group_size", 32}, {"bits", 6}, {"mode", "affine"}}));
}

TEST(Plan, DeckardNamesOnlyHighModules) {
  const Json map = quantization_json(plan_of(qwen3(4, false), "qx63-hi"));
  EXPECT_EQ(map["bits"], 3);
  EXPECT_EQ(map["group_size"], 32);
  EXPECT_EQ(map.size(), 3u + 2 + 2 * 4);
  EXPECT_TRUE(map.contains("model.layers.3.self_attn.o_proj"));
  EXPECT_FALSE(map.contains("model.layers.1.self_attn.o_proj"));
  EXPECT_EQ(quantization_json(plan_of(qwen3(4, false), "q5")),
            (Json{{"group_size", 64}, {"bits", 5}, {"mode", "affine"}}));
  EXPECT_TRUE(quantization_json(plan_of(qwen3(4, false), "f16")).is_null());
}

TEST(Plan, BiasesAreRowsOfTheirOwn) {
  const ModelConfig config = config_of(R"({"model_type":"qwen2","hidden_size":128,
    "intermediate_size":256,"num_hidden_layers":1,"num_attention_heads":4,
    "num_key_value_heads":2,"vocab_size":100,"tie_word_embeddings":true,"dtype":"float32"})");
  const Plan plan = plan_of(config, "q8");
  std::int64_t float_bytes = 0;
  for (const PlanRow& r : plan.rows) {
    if (!r.affine) float_bytes += r.bytes;
    EXPECT_EQ(r.dtype, DType::kF32);
  }
  EXPECT_EQ(float_bytes, 4 * (128 + 64 + 64 + 3 * 128));
  // Scales and biases in float32: 8 + 64/64 bits a weight.
  EXPECT_EQ(row(plan, "model.embed_tokens").bytes, 100 * 128 * 9 / 8);
}

TEST(Plan, GroupThatDoesNotDivideStaysFloat) {
  // 192 columns: 32 and 64 divide, 128 does not; down_proj has 384, which all divide.
  PlanRequest request;
  request.recipe = "q4";
  request.group_size = 128;
  const Plan plan = make_plan(qwen3(1, false, 192), request);
  EXPECT_EQ(bits(plan, "lm_head"), 0);
  EXPECT_EQ(bits(plan, layer(0, "mlp.down_proj")), 4);
  EXPECT_EQ(row(plan, "lm_head").rule, "q4: kept in float, 192 columns are not a multiple of 128");
  EXPECT_TRUE(warns(plan, "7 of the tensors"));
  EXPECT_FALSE(quantization_json(plan).contains("lm_head"));
}

TEST(Plan, TheGlobalGroupDecidesAsInMlx) {
  // The rule's own group 32 divides 96, the global 64 does not: mlx-lm skips the module.
  const Recipe recipe = parse_recipe(
      R"({"name":"t","bits":4,"rules":[{"roles":["attention"],"bits":8,"group_size":32}]})", "t",
      std::nullopt);
  const Plan plan = resolve_plan(recipe, tensor_catalog(qwen3(1, false, 96)), {});
  EXPECT_EQ(bits(plan, layer(0, "self_attn.q_proj")), 0);
  EXPECT_EQ(bits(plan, layer(0, "self_attn.o_proj")), 8);  // 256 columns
  EXPECT_EQ(row(plan, layer(0, "self_attn.o_proj")).affine->group, 32);
}

TEST(Plan, HashIsOfTheCanonicalList) {
  const Plan plan = plan_of(qwen3(1, true), "q4");
  std::string text = "[";
  for (const PlanRow& r : plan.rows) {
    text += fmt::format(R"({}["{}",{},{},"{}"])", text.size() > 1 ? "," : "", r.tensor.name,
                        r.affine ? 4 : 16, r.affine ? "64" : "null", r.affine ? "affine" : "float");
  }
  EXPECT_EQ(plan.plan_hash(), sha256_hex(text + "]"));
  EXPECT_NE(plan.plan_hash(), plan_of(qwen3(1, true), "q4-hi").plan_hash());
  EXPECT_EQ(plan_of(qwen3(1, true), "bf16").plan_hash(),
            plan_of(qwen3(1, true), "f16").plan_hash());
}

TEST(Plan, Json) {
  const ModelConfig config = qwen3(1, true);
  const Plan plan = plan_of(config, "qx63");
  const Json json = plan_json(plan, config);
  EXPECT_EQ(json["model_type"], "qwen3");
  EXPECT_EQ(json["parameters"], plan.parameters);
  EXPECT_EQ(json["recipe"], "qx63");
  EXPECT_EQ(json["plan_hash"], plan.plan_hash());
  EXPECT_EQ(json["tensors"].size(), plan.rows.size());
  std::int64_t total = 0;
  for (const Json& tensor : json["tensors"]) total += tensor["bytes"].get<std::int64_t>();
  EXPECT_EQ(json["tensor_bytes"], total);
  EXPECT_EQ(json["tensors"][0]["group_size"], 64);
  EXPECT_EQ(json["tensors"].back()["mode"], "float");
  EXPECT_EQ(json["tensors"].back()["bits"], 16);
  EXPECT_TRUE(json["tensors"].back()["group_size"].is_null());
  EXPECT_EQ(json["tensors"].back()["name"], "model.norm.weight");
}

TEST(Plan, OptionsThatContradictTheRecipe) {
  const auto message = [](const std::string& recipe, std::optional<int> group,
                          std::optional<DType> dtype) {
    return usage_error([&] {
      PlanRequest request{recipe, group, dtype, ""};
      make_plan(qwen3(1, true), request);
    });
  };
  EXPECT_NE(message("q4-hi", 64, {}).find("q4-hi"), std::string::npos);
  EXPECT_NE(message("q4", 48, {}).find("32, 64 or 128"), std::string::npos);
  EXPECT_NE(message("bf16", 64, {}).find("no groups"), std::string::npos);
  EXPECT_NE(message("bf16", {}, DType::kF16).find("bfloat16"), std::string::npos);
  EXPECT_NO_THROW(make_plan(qwen3(1, true), {"q4-hi", 32, {}, ""}));
  EXPECT_EQ(make_plan(qwen3(1, true), {"q4", {}, DType::kF32, ""}).rows[0].dtype, DType::kF32);
}

// Routers and experts, which no supported family has yet.
std::vector<CatalogTensor> moe_catalog() {
  return {
      {"model.embed_tokens.weight", "model.embed_tokens", {64, 128}, Role::kEmbedding, -1, true},
      {"model.layers.0.mlp.gate.weight",
       "model.layers.0.mlp.gate",
       {8, 128},
       Role::kRouter,
       0,
       true},
      {"model.layers.0.mlp.switch_mlp.down_proj.weight",
       "model.layers.0.mlp.switch_mlp.down_proj",
       {8, 128, 64},
       Role::kExpert,
       0,
       true}};
}

TEST(Plan, RoutersHaveAFloor) {
  const Plan plan = resolve_plan(find_recipe("qx63-hi"), moe_catalog(), {});
  EXPECT_EQ(plan.rows[1].affine, (AffineSpec{8, 64}));
  EXPECT_TRUE(plan.rows[1].named);
  EXPECT_EQ(plan.rows[2].affine, (AffineSpec{3, 32}));
  EXPECT_EQ(plan.rows[2].bytes, 8 * 128 * 64 / 2);
  EXPECT_EQ(resolve_plan(find_recipe("q8"), moe_catalog(), {}).rows[1].affine, (AffineSpec{8, 64}));
  const Plan mixed = resolve_plan(find_recipe("mixed_2_6"), moe_catalog(), {});
  EXPECT_EQ(mixed.rows[1].affine, (AffineSpec{2, 64}));
  EXPECT_TRUE(warns(mixed, "routers are below 8 bits"));
  const auto file = [](const char* rule) {
    return resolve_plan(parse_recipe(fmt::format(R"({{"name":"t","bits":4,"rules":[{}]}})", rule),
                                     "t", std::nullopt),
                        moe_catalog(), {});
  };
  EXPECT_EQ(file(R"({"roles":["router"],"bits":5})").rows[1].affine, (AffineSpec{5, 64}));
  EXPECT_EQ(file(R"({"match":"*.mlp.gate","bits":5})").rows[1].affine, (AffineSpec{5, 64}));
  EXPECT_EQ(file(R"({"match":"*","bits":5})").rows[1].affine, (AffineSpec{8, 64}));
  EXPECT_FALSE(file(R"({"roles":["router"],"float":true})").rows[1].affine.has_value());
}

TEST(Plan, Lint) {
  EXPECT_TRUE(warns(plan_of(qwen3(8, true), "mixed_3_6"), "tied to the embeddings"));
  EXPECT_TRUE(warns(plan_of(qwen3(8, true), "mixed_3_6"), "stored at 3 bits"));
  EXPECT_FALSE(warns(plan_of(qwen3(8, false), "mixed_3_6"), "stored at 3 bits"));
  EXPECT_TRUE(warns(plan_of(qwen3(8, true), "q2"), "stored at 2 bits"));
  EXPECT_TRUE(plan_of(qwen3(8, true), "mixed_4_6").warnings.size() == 1);
  const auto lint = [](const char* rules) {
    return resolve_plan(parse_recipe(fmt::format(R"({{"name":"t","bits":4,"rules":[{}]}})", rules),
                                     "t.json", std::nullopt),
                        tensor_catalog(qwen3(4, false)), {});
  };
  EXPECT_TRUE(warns(lint(R"({"match":"model.layers.9.*","bits":8})"),
                    "t.json: rules[0] (rule 0) matches nothing"));
  EXPECT_TRUE(warns(lint(R"({"roles":"mlp","layers":{"from":4},"bits":8})"), "matches nothing"));
  EXPECT_TRUE(warns(lint(R"({"match":"*","bits":8},{"roles":"q","bits":6,"why":"late"})"),
                    "rules[1] (late) decides nothing"));
  EXPECT_TRUE(lint(R"({"roles":"q","bits":6})").warnings.empty());
}

}  // namespace
}  // namespace qx
