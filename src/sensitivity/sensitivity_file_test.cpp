// SPDX-License-Identifier: Apache-2.0
#include "sensitivity/sensitivity_file.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "io/test_files.h"

namespace qx {
namespace {

Sensitivity example() {
  Sensitivity s;
  s.model_path = "models/base";
  s.weights = {{"model.safetensors", "ab12"}};
  s.plan_hash = "cd34";
  s.calibration_sha256 = "ef56";
  s.calibration_text = {{"file", "wiki.txt"}, {"tokens", 4096}};
  s.fit = "gptq";
  s.damping = 0.01;
  s.windows = 4;
  s.ctx = 512;
  s.seed = 7;
  s.precision = "reference";
  // Bytes of a row of 128: 128 bits / 8 of codes and 4 bytes a group.
  s.tensors = {{"model.embed_tokens.weight",
                {10, 128},
                "embedding",
                0,
                true,
                {{{4, 32}, 10 * (64 + 16), 0.25}, {{8, 128}, 10 * (128 + 4), 0.0}}},
               {"model.layers.0.mlp.down_proj.weight",
                {6, 64},
                "down",
                1.5e-9,
                false,
                {{{3, 64}, 6 * (24 + 4), 1e-3}}}};
  s.validation = SensitivityValidation{
      {{"model.layers.0.mlp.down_proj.weight", {3, 64}, 1e-3, 1.2e-3}}, std::nullopt, 1.2};
  s.created = "2026-01-02T03:04:05Z";
  s.version = "0.1.0";
  return s;
}

TEST(SensitivityFile, ComesBackAsItWasWritten) {
  const TestFolder folder;
  const auto path = folder / "s.json";
  write_sensitivity(path, example(), false);
  EXPECT_THROW(write_sensitivity(path, example(), false), Error);
  const Sensitivity back = read_sensitivity(path);
  EXPECT_EQ(sensitivity_json(back), sensitivity_json(example()));
  EXPECT_EQ(back.tensors[0].options[1].spec.group, 128);
  EXPECT_TRUE(back.tensors[0].measured);
  EXPECT_FALSE(back.tensors[1].measured);
  EXPECT_EQ(back.tensors[1].gradient, 1.5e-9);
  EXPECT_FALSE(back.validation->log_pearson.has_value());
}

std::string error_after(const std::function<void(Json&)>& change) {
  Json json = sensitivity_json(example());
  change(json);
  try {
    parse_sensitivity(json, "f.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(SensitivityFile, NamesWhatIsWrong) {
  const auto option = [](Json& j) -> Json& { return j["tensors"][0]["options"][0]; };
  const std::pair<std::function<void(Json&)>, const char*> cases[] = {
      {[](Json& j) { j["format"] = "qx-sensitivity-2"; }, "expected 'qx-sensitivity-1'"},
      {[](Json& j) { j["model"] = 3; }, "key 'model': got number, expected object"},
      {[](Json& j) { j["tensors"] = Json::array(); }, "empty list"},
      {[](Json& j) { j["tensors"][1]["name"] = "model.embed_tokens.weight"; }, "there twice"},
      {[](Json& j) { j["tensors"][0]["shape"] = {10}; }, "two dimensions"},
      {[](Json& j) {
         j["tensors"][0]["shape"] = {10, -128};
       },
       "two dimensions"},
      {[](Json& j) { j["tensors"][0]["role"] = "norm"; }, "key 'role': got 'norm'"},
      {[](Json& j) { j["tensors"][0]["gradient"] = -1; }, "0 or above"},
      {[](Json& j) { j["tensors"][0]["source"] = "guess"; }, "gradient, measured"},
      {[&](Json& j) { option(j)["bits"] = 7; }, "got 7 bits in groups of 32"},
      {[&](Json& j) { option(j)["bits"] = 4294967300; }, "got 4294967300 bits"},
      {[&](Json& j) { option(j)["bytes"] = 799; }, "got 799, expected 800"},
      {[&](Json& j) {
         option(j)["cost"] = {{"__float__", "NaN"}};
       },
       "0 or above"},
      {[&](Json& j) { option(j) = j["tensors"][0]["options"][1]; }, "are there twice"},
      {[](Json& j) { j["tensors"][1]["options"][0]["group_size"] = 128; }, "a divisor"},
      {[](Json& j) { j["validation"]["pairs"][0]["name"] = "x"; }, "expected one of 'tensors'"},
      {[](Json& j) { j["validation"]["median_ratio"] = "x"; }, "median_ratio"},
      {[](Json& j) { j["dtype"] = "int8"; }, "key 'dtype'"},
      {[](Json& j) { j["fit"] = "awq"; }, "minmax, mse, gptq"},
      {[](Json& j) { j["windows"] = 0; }, "1 or more"},
      {[](Json& j) { j.erase("seed"); }, "seed"},
  };
  for (const auto& [change, message] : cases) {
    const std::string error = error_after(change);
    EXPECT_NE(error.find(message), std::string::npos) << error << " lacks " << message;
  }
  EXPECT_EQ(error_after([](Json&) {}), "");
}

TEST(SensitivityFile, IsOfOneModelsWeights) {
  const Sensitivity s = example();
  require_same_weights(s, {{"model.safetensors", "ab12"}, {"config.json", "x"}}, "f", "m");
  EXPECT_THROW(require_same_weights(s, {{"model.safetensors", "ab13"}}, "f", "m"), Error);
  EXPECT_THROW(require_same_weights(s, {{"other.safetensors", "ab12"}}, "f", "m"), Error);
}

}  // namespace
}  // namespace qx
