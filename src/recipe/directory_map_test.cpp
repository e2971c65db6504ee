// Directories written tensor by tensor, measured back; their faults; their maps on other models.
// SPDX-License-Identifier: Apache-2.0
#include "recipe/directory_map.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "base/error.h"
#include "io/safetensors.h"
#include "recipe/recipe.h"
#include "recipe/resolve.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class DirectoryMap : public ::testing::Test {
 protected:
  DirectoryMap() {
    std::string pattern = testing::TempDir() + "/qx_map_XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw Error(pattern, "cannot create");
    root_ = pattern;
  }
  ~DirectoryMap() override {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }

  static Json config_json(int layers, bool tied, int hidden = 128) {
    return parse_json(fmt::format(R"({{"model_type":"qwen3","hidden_size":{},
      "intermediate_size":256,"num_hidden_layers":{},"num_attention_heads":4,
      "num_key_value_heads":2,"head_dim":32,"vocab_size":96,"tie_word_embeddings":{},
      "torch_dtype":"bfloat16"}})",
                                  hidden, layers, tied),
                      "test");
  }

  using Entries = std::vector<SafetensorsWriter::Entry>;

  static Entries entries_of(const Plan& plan) {
    Entries entries;
    for (const PlanRow& row : plan.rows) {
      if (!row.affine) {
        entries.push_back({row.tensor.name, row.dtype, row.tensor.shape});
        continue;
      }
      const std::int64_t rows = row.tensor.shape[0], cols = row.tensor.shape[1];
      entries.push_back({row.tensor.name, DType::kU32, {rows, cols * row.affine->bits / 32}});
      for (const char* part : {".scales", ".biases"}) {
        entries.push_back({row.tensor.module + part, row.dtype, {rows, cols / row.affine->group}});
      }
    }
    return entries;
  }

  static void write_zeros(const fs::path& file, const Entries& entries) {
    SafetensorsWriter writer(file, entries, {{"format", "mlx"}});
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::vector<std::byte> zeros(
          static_cast<std::size_t>(*element_count(entries[i].shape)) *
          dtype_bytes(entries[i].dtype));
      writer.write(i, 0, zeros);
    }
    writer.finish();
  }

  static void write_json(const fs::path& file, const Json& json) {
    std::ofstream(file, std::ios::binary) << json.dump();
  }

  // A directory as convert would make it, with changes to its tensors and config.
  fs::path write_model(const std::string& name, const Json& base, const Plan& plan,
                       const std::function<void(Entries&)>& change_tensors = nullptr,
                       const std::function<void(Json&)>& change_config = nullptr) {
    const fs::path dir = root_ / name;
    fs::create_directory(dir);
    Json config = base;
    if (plan.quantizes) config["quantization"] = quantization_json(plan);
    if (change_config) change_config(config);
    write_json(dir / "config.json", config);
    Entries entries = entries_of(plan);
    if (change_tensors) change_tensors(entries);
    write_zeros(dir / "model.safetensors", entries);
    return dir;
  }

  static ModelConfig parse(const Json& json) { return parse_model_config(json, "test"); }

  static Plan plan_of(const Json& config, const std::string& recipe) {
    PlanRequest request;
    request.recipe = recipe;
    return make_plan(parse(config), request);
  }

  static Plan like(const Json& config, const fs::path& dir) {
    PlanRequest request;
    request.like_directory = dir.string();
    return make_plan(parse(config), request);
  }

  static bool says(const std::vector<std::string>& lines, const std::string& part) {
    for (const std::string& line : lines) {
      if (line.find(part) != std::string::npos) return true;
    }
    return false;
  }

  static Entries::iterator entry(Entries& entries, const std::string& name) {
    for (auto it = entries.begin(); it != entries.end(); ++it) {
      if (it->name == name) return it;
    }
    throw std::runtime_error("no entry " + name);
  }

  fs::path root_;
};

TEST_F(DirectoryMap, MeasuresExactlyWhatWasPlanned) {
  int n = 0;
  for (const bool tied : {false, true}) {
    const Json config = config_json(6, tied);
    for (const char* recipe : {"q4", "q8-hi", "qx63-hi", "qx85x", "mixed_3_6", "bf16"}) {
      const Plan plan = plan_of(config, recipe);
      const fs::path dir = write_model(fmt::format("m{}", n++), config, plan);
      const MeasuredDirectory measured = measure_directory(dir);
      EXPECT_TRUE(measured.problems.empty()) << recipe << ": " << measured.problems.front();
      EXPECT_EQ(measured.tensor_bytes, plan.tensor_bytes) << recipe;
      EXPECT_EQ(measured.parameters, plan.parameters) << recipe;
      EXPECT_DOUBLE_EQ(measured.bits_per_weight(), plan.bits_per_weight) << recipe;
      EXPECT_EQ(storage_hash(measured.storage()), plan.plan_hash()) << recipe;

      const Plan again = like(config, dir);
      EXPECT_EQ(again.plan_hash(), plan.plan_hash()) << recipe;
      EXPECT_EQ(quantization_json(again), quantization_json(plan)) << recipe;
      fs::remove(dir / "model.safetensors");
      EXPECT_EQ(like(config, dir).plan_hash(), plan.plan_hash()) << recipe << ", config alone";
    }
  }
}

TEST_F(DirectoryMap, RecipeOfADirectoryGivesItsMap) {
  const Json config = config_json(9, false);
  int n = 0;
  for (const char* recipe : {"q4", "qx63-hi", "qx85x", "mixed_3_6", "f32"}) {
    const Plan plan = plan_of(config, recipe);
    const MeasuredDirectory measured =
        measure_directory(write_model(fmt::format("r{}", n++), config, plan));
    const std::string text = recipe_of(measured, "a {strange} name").dump(2);
    const Recipe parsed = parse_recipe(text, "printed", std::nullopt);
    ResolveOptions options;
    options.dtype = parsed.dtype.value_or(DType::kBF16);
    const Plan again = resolve_plan(parsed, tensor_catalog(parse(config)), options);
    EXPECT_EQ(again.plan_hash(), plan.plan_hash()) << recipe << "\n" << text;
    EXPECT_TRUE(again.warnings.empty()) << recipe << again.warnings.front();
  }
}

TEST_F(DirectoryMap, RecipeOfAnIrregularMap) {
  // Single modules at widths and groups of their own, one in float.
  const Json config = config_json(5, false);
  Plan plan = plan_of(config, "q4");
  for (PlanRow& row : plan.rows) {
    const std::string& m = row.tensor.module;
    if (m == "model.layers.2.mlp.up_proj") row.affine = AffineSpec{8, 128};
    if (m == "model.layers.3.self_attn.q_proj") row.affine = AffineSpec{5, 32};
    if (m == "model.layers.4.mlp.down_proj") row.affine.reset();
    if (m == "lm_head") row.affine.reset();
  }
  for (PlanRow& row : plan.rows) row = make_row(row.tensor, row.affine, row.dtype, row.rule);
  finish_plan(plan);
  const MeasuredDirectory measured = measure_directory(write_model("irregular", config, plan));
  EXPECT_TRUE(measured.problems.empty());
  const Recipe parsed = parse_recipe(recipe_of(measured, "x").dump(), "printed", std::nullopt);
  EXPECT_EQ(resolve_plan(parsed, tensor_catalog(parse(config)), {}).plan_hash(), plan.plan_hash());
  EXPECT_EQ(like(config, root_ / "irregular").plan_hash(), plan.plan_hash());
}

TEST_F(DirectoryMap, AGroupThatTheGlobalOneDoesNotDivide) {
  // 96 columns at group 32 beside a global group of 64: recipes would leave them in float.
  const Json config = config_json(2, false, 96);
  const Plan plan = plan_of(config, "q4-hi");
  const fs::path dir = write_model("odd", config, plan, nullptr,
                                   [](Json& c) { c["quantization"]["group_size"] = 64; });
  const MeasuredDirectory measured = measure_directory(dir);
  EXPECT_TRUE(says(measured.problems, "contradicts the stored shapes"));
  const Recipe parsed = parse_recipe(recipe_of(measured, "x").dump(), "printed", std::nullopt);
  EXPECT_EQ(resolve_plan(parsed, tensor_catalog(parse(config)), {}).plan_hash(), plan.plan_hash());
}

TEST_F(DirectoryMap, ShapesWinOverConfig) {
  const Json config = config_json(4, false);
  const Plan plan = plan_of(config, "qx63-hi");
  const auto problems = [&](const std::string& name, const std::function<void(Json&)>& change) {
    const fs::path dir = write_model(name, config, plan, nullptr, change);
    const MeasuredDirectory measured = measure_directory(dir);
    EXPECT_EQ(storage_hash(measured.storage()), plan.plan_hash()) << name;
    EXPECT_EQ(like(config, dir).plan_hash(), plan.plan_hash()) << name;
    return measured.problems;
  };
  EXPECT_TRUE(
      says(problems("no_entries",
                    [](Json& c) {
                      c["quantization"] = {{"group_size", 32}, {"bits", 3}};
                    }),
           "model.embed_tokens stored affine 6 bits group 32, config affine 3 bits group 32 "
           "(global)"));
  EXPECT_TRUE(
      says(problems("none", [](Json& c) { c.erase("quantization"); }), "no quantization map"));
  EXPECT_TRUE(says(problems("false", [](Json& c) { c["quantization"]["lm_head"] = false; }),
                   "says float, but stored quantized (1): lm_head"));
  EXPECT_TRUE(
      says(problems("null", [](Json& c) { c["quantization"]["lm_head"]["group_size"] = nullptr; }),
           "config affine 6 bits group 64"));
  EXPECT_TRUE(
      says(problems("nullglobal", [](Json& c) { c["quantization"]["group_size"] = nullptr; }),
           "no global group_size"));
  EXPECT_TRUE(says(problems("unknown",
                            [](Json& c) {
                              c["quantization"]["model.layers.9.mlp.up_proj"] = {{"bits", 4}};
                            }),
                   "does not have (1): model.layers.9.mlp.up_proj"));
}

TEST_F(DirectoryMap, FaultsOfTheTensors) {
  const Json config = config_json(2, true);
  const Plan plan = plan_of(config, "q4-hi");
  const auto problems = [&](const std::string& name, const std::function<void(Entries&)>& change) {
    const MeasuredDirectory measured = measure_directory(write_model(name, config, plan, change));
    EXPECT_GT(measured.tensor_bytes, 0);
    return measured.problems;
  };
  const std::string q = "model.layers.1.self_attn.q_proj";
  EXPECT_TRUE(says(problems("missing", [&](Entries& e) { e.erase(entry(e, q + ".weight")); }),
                   "missing tensors (1): " + q));
  EXPECT_TRUE(says(problems("nobiases", [&](Entries& e) { e.erase(entry(e, q + ".biases")); }),
                   "missing tensors (1): " + q + ".biases"));
  EXPECT_TRUE(says(problems("noscales", [&](Entries& e) { e.erase(entry(e, q + ".scales")); }),
                   "biases without scales"));
  EXPECT_TRUE(
      says(problems("norm", [&](Entries& e) { entry(e, "model.norm.weight")->shape = {5}; }),
           "model.norm.weight got [5], expected [128]"));
  EXPECT_TRUE(says(problems("words", [&](Entries& e) { entry(e, q + ".weight")->shape[1] = 17; }),
                   "fit no width"));
  EXPECT_TRUE(says(problems("rows", [&](Entries& e) { entry(e, q + ".scales")->shape[0] = 3; }),
                   "wrong shapes"));
  EXPECT_TRUE(
      says(problems("biastype", [&](Entries& e) { entry(e, q + ".biases")->dtype = DType::kF16; }),
           "as its scales"));
  EXPECT_TRUE(says(
      problems("type", [&](Entries& e) { entry(e, "model.norm.weight")->dtype = DType::kI16; }),
      "wrong element types"));
  EXPECT_TRUE(
      says(problems("f32", [&](Entries& e) { entry(e, "model.norm.weight")->dtype = DType::kF32; }),
           "stored as F32 where config.json says BF16 (1)"));
  EXPECT_TRUE(says(problems("extra",
                            [&](Entries& e) {
                              e.push_back({"model.extra", DType::kF32, {2}});
                            }),
                   "extra tensors that the model does not have (1): model.extra"));
  EXPECT_TRUE(says(problems("head",
                            [&](Entries& e) {
                              e.push_back({"lm_head.weight", DType::kBF16, {2}});
                            }),
                   "loaders ignore (1): lm_head.weight"));
}

TEST_F(DirectoryMap, ByteScalesAreNamed) {
  const Json config = config_json(1, false);
  struct Case {
    const char* name;
    int bits, group;
  };
  for (const Case& c : {Case{"mxfp4", 4, 32}, Case{"nvfp4", 4, 16}, Case{"mxfp8", 8, 32}}) {
    const auto change = [&](Entries& e) {
      entry(e, "lm_head.weight")->shape[1] = 128 * c.bits / 32;
      entry(e, "lm_head.scales")->shape[1] = 128 / c.group;
      entry(e, "lm_head.scales")->dtype = DType::kU8;
      e.erase(entry(e, "lm_head.biases"));
    };
    const auto config_change = [&](Json& j) {
      j["quantization"]["lm_head"] = {{"bits", c.bits}, {"group_size", c.group}, {"mode", c.name}};
    };
    const fs::path dir = write_model(c.name, config, plan_of(config, "q4"), change, config_change);
    const MeasuredDirectory measured = measure_directory(dir);
    EXPECT_TRUE(measured.problems.empty()) << measured.problems.front();
    EXPECT_EQ(measured.rows.back().mode, c.name);
    EXPECT_EQ(measured.rows.back().group_size, c.group);
    for (const std::function<void()>& body :
         {std::function<void()>([&] { like(config, dir); }),
          std::function<void()>([&] { recipe_of(measured, "x"); })}) {
      try {
        body();
        ADD_FAILURE() << c.name;
      } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find(c.name), std::string::npos) << e.what();
      }
    }
    fs::remove(dir / "model.safetensors");
    EXPECT_THROW(like(config, dir), Error) << "from config.json alone";
  }
}

TEST_F(DirectoryMap, StaleShardIsAProblem) {
  const Json config = config_json(1, true);
  const Plan plan = plan_of(config, "q4");
  const fs::path dir = write_model("stale", config, plan);
  Json map = Json::object();
  for (const auto& e : entries_of(plan)) map[e.name] = "model.safetensors";
  write_json(dir / "model.safetensors.index.json",
             {{"metadata", Json::object()}, {"weight_map", map}});
  EXPECT_TRUE(measure_directory(dir).problems.empty());
  write_zeros(dir / "model-00002-of-00002.safetensors", {{"lm_head.weight", DType::kF32, {1}}});
  EXPECT_TRUE(says(measure_directory(dir).problems, "model-00002-of-00002.safetensors"));
}

TEST_F(DirectoryMap, LikeOnModelsOfAnotherLayout) {
  const Json config = config_json(4, false);
  const fs::path dir = write_model("four", config, plan_of(config, "qx63-hi"));
  try {
    like(config_json(6, false), dir);
    ADD_FAILURE();
  } catch (const Error& e) {
    const std::string message = e.what();
    EXPECT_NE(message.find("14 modules"), std::string::npos) << message;
    EXPECT_NE(message.find("it has 4 layers, the source 6"), std::string::npos) << message;
  }
  const Plan smaller = like(config_json(3, true), dir);
  EXPECT_TRUE(says(smaller.warnings, "8 modules that the source does not have"));
  // Other sizes, same modules: the map holds, and a group that does not divide is said.
  const Plan wider = like(config_json(4, false, 256), dir);
  EXPECT_EQ(wider.rows.back().affine, (AffineSpec{6, 32}));
  const Plan odd = like(config_json(4, false, 80), dir);
  EXPECT_FALSE(odd.rows.back().affine.has_value());
  EXPECT_TRUE(says(odd.warnings, "stay in float"));
  EXPECT_EQ(odd.recipe, "like four");
  PlanRequest request;
  request.like_directory = dir.string();
  request.group_size = 64;
  EXPECT_THROW(make_plan(parse(config), request), UsageError);
  EXPECT_THROW(like(config, root_ / "none"), Error);
}

}  // namespace
}  // namespace qx
