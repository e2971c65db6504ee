// SPDX-License-Identifier: Apache-2.0
#include "fit/calibration_file.h"

#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <limits>

#include "io/test_files.h"

namespace qx {
namespace {
using testing_files::error_of;

ModelConfig small_config() {
  return parse_model_config(parse_json(R"({
    "model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 20, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64, "tie_word_embeddings": true})",
                                       "test"),
                            "test");
}

constexpr const char* kInfo = R"({"tokens": 10, "model": {"files": {"model.safetensors": "abc"}}})";

struct File {
  std::vector<SafetensorsWriter::Entry> entries = calibration_entries(small_config(), {2, 5, 0});
  std::map<std::string, std::string> metadata = {{"format", kCalibrationFormat}, {"info", kInfo}};
  float value = 1;
  void write(const std::filesystem::path& path) const {
    SafetensorsWriter writer(path, entries, metadata);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const auto count = static_cast<std::size_t>(*element_count(entries[i].shape));
      std::vector<float> values(count * dtype_bytes(entries[i].dtype) / 4, value);
      writer.write(i, 0, std::as_bytes(std::span<const float>(values)));
    }
    writer.finish();
  }
};

TEST(CalibrationFile, InputsCoverEveryMatrix) {
  const ModelConfig config = small_config();
  std::map<std::string, std::int64_t> widths;
  for (const LinearInputShape& input : linear_inputs(config)) widths[input.name] = input.width;
  EXPECT_EQ(widths.size(), 9u);
  for (const CatalogTensor& t : tensor_catalog(config)) {
    if (!t.quantizable) {
      EXPECT_EQ(linear_input_of(t, true), "");
      continue;
    }
    EXPECT_EQ(widths.at(linear_input_of(t, true)), t.shape[1]) << t.name;
  }
  EXPECT_EQ(linear_input_of(tensor_catalog(config)[0], false), "");
}

TEST(CalibrationFile, ReadsWhatIsWritten) {
  const TestFolder dir;
  File().write(dir / "c.safetensors");
  const Calibration c(dir / "c.safetensors");
  c.require_model(small_config(), "model");
  EXPECT_EQ(c.mean_square("layers.1.down"), std::vector<float>(12, 1.0f));
  EXPECT_EQ(c.moment("final").size(), 36u);
  c.require_weights({{"model.safetensors", "abc"}}, "model");
  EXPECT_NE(error_of([&] {
              c.require_weights({{"model.safetensors", "abd"}}, "model");
            }).find("other weights"),
            std::string::npos);
  ModelConfig wider = small_config();
  wider.intermediate_size = 16;
  EXPECT_NE(error_of([&] { c.require_model(wider, "m"); }).find("another model"),
            std::string::npos);
  ModelConfig deeper = small_config();
  deeper.num_hidden_layers = 3;
  EXPECT_NE(error_of([&] { c.require_model(deeper, "m"); }).find("layers.2.qkv"),
            std::string::npos);
  ModelConfig shallower = small_config();
  shallower.num_hidden_layers = 1;
  EXPECT_NE(error_of([&] { c.require_model(shallower, "m"); }).find("another model"),
            std::string::npos);
}

TEST(CalibrationFile, BrokenFilesAreRefused) {
  const TestFolder dir;
  const auto error = [&](const std::function<void(File&)>& change) {
    File file;
    change(file);
    file.write(dir / "c.safetensors");
    return error_of([&] {
      const Calibration c(dir / "c.safetensors");
      (void)c.mean_square("final");
      (void)c.moment("final");
    });
  };
  const auto expect = [&](const std::string& text, const std::function<void(File&)>& change) {
    const std::string message = error(change);
    EXPECT_NE(message.find(text), std::string::npos) << message;
  };
  expect("format", [](File& f) { f.metadata["format"] = "mlx"; });
  expect("info", [](File& f) { f.metadata.erase("info"); });
  expect("info", [](File& f) { f.metadata["info"] = "{"; });
  expect("no JSON object", [](File& f) { f.metadata["info"] = "[]"; });
  expect("tokens", [](File& f) { f.metadata["info"] = "{}"; });
  expect("at least 1", [](File& f) { f.metadata["info"] = R"({"tokens": 0})"; });
  expect("unknown", [](File& f) { f.entries.push_back({"surprise", DType::kF32, {1}}); });
  expect("is missing", [](File& f) { f.entries.erase(f.entries.end() - 2); });
  expect("is missing", [](File& f) { f.entries.erase(f.entries.begin()); });
  expect("expected 36", [](File& f) { f.entries[0].shape = {35}; });
  expect("one dimension", [](File& f) { f.entries[1].shape = {2, 4}; });
  expect("expected F32", [](File& f) { f.entries[1].dtype = DType::kU32; });
  expect("mean squares", [](File& f) { f.value = -1; });
  expect("finite", [](File& f) { f.value = std::numeric_limits<float>::infinity(); });
}

TEST(CalibrationFile, HoldsTheTokensOfItsWindows) {
  const TestFolder dir;
  File file;
  file.value = std::bit_cast<float>(7u);
  file.write(dir / "c.safetensors");
  EXPECT_EQ(Calibration(dir / "c.safetensors").windows(),
            (std::vector<std::vector<std::int32_t>>(2, std::vector<std::int32_t>(5, 7))));
  file.value = std::bit_cast<float>(20u);
  file.write(dir / "beyond.safetensors");
  EXPECT_NE(error_of([&] {
              Calibration(dir / "beyond.safetensors").windows();
            }).find("got token id 20, expected below 20"),
            std::string::npos);
  file.entries.pop_back();
  file.write(dir / "old.safetensors");
  const Calibration old(dir / "old.safetensors");
  EXPECT_NE(error_of([&] { old.windows(); }).find("run qx calibrate again"), std::string::npos);
  file.entries.push_back({kWindowTokens, DType::kU32, {10}});
  file.write(dir / "flat.safetensors");
  EXPECT_NE(error_of([&] { Calibration{dir / "flat.safetensors"}; }).find("two dimensions"),
            std::string::npos);
}

}  // namespace
}  // namespace qx
