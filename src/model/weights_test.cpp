// SPDX-License-Identifier: Apache-2.0
#include "model/weights.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <string>

#include "base/error.h"
#include "io/safetensors.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class WeightsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_weights_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path write(TinyModel options) {
    const fs::path directory = root_ / ("model" + std::to_string(count_++));
    options.tokenizer = options.chat_template = false;
    options.layers = 1;
    write_tiny_model(directory, options);
    return directory;
  }

  // Rewrites the tensors of a directory: edit may change an entry and its bytes, or drop it.
  using Tensor = TestTensor;
  static void rewrite(const fs::path& directory,
                      const std::function<void(std::vector<Tensor>&)>& edit) {
    const fs::path path = directory / "model.safetensors";
    std::vector<Tensor> tensors;
    {
      const SafetensorsFile file(path);
      for (const TensorView& t : file.tensors()) {
        tensors.push_back({t.name, t.dtype, t.shape, {t.data.begin(), t.data.end()}});
      }
    }
    edit(tensors);
    fs::remove(path);
    write_test_tensors(path, tensors);
  }
  static Tensor& named(std::vector<Tensor>& tensors, const std::string& name) {
    for (Tensor& t : tensors) {
      if (t.name == name) return t;
    }
    throw InternalError("no tensor " + name);
  }

  static std::string error_of(const fs::path& directory) {
    try {
      load_weights(directory);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  fs::path root_;
  int count_ = 0;
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

constexpr const char* kQ = "model.layers.0.self_attn.q_proj";

TEST_F(WeightsTest, FindsEveryPart) {
  const auto w = load_weights(write({.family = "qwen3"}));
  ASSERT_EQ(w->layers.size(), 1u);
  EXPECT_EQ(w->layers[0].q_norm.size(), 64u);
  EXPECT_EQ(w->layers[0].q.rows.rows, 256);
  EXPECT_EQ(w->layers[0].q.rows.cols, 128);
  EXPECT_EQ(w->layers[0].down.rows.cols, 256);
  EXPECT_EQ(w->layers[0].q.rows.kind, WeightKind::kBF16);
  EXPECT_TRUE(w->layers[0].q.bias.empty());
  EXPECT_NE(w->head.rows.values, w->embedding.rows.values);
  EXPECT_TRUE(w->warnings.empty());
}

TEST_F(WeightsTest, BiasesAndTiedHead) {
  const auto qwen2 = load_weights(write({.family = "qwen2", .tied = true}));
  EXPECT_EQ(qwen2->layers[0].k.bias.size(), 64u);
  EXPECT_TRUE(qwen2->layers[0].o.bias.empty());
  EXPECT_EQ(qwen2->head.rows.values, qwen2->embedding.rows.values);
  const auto llama = load_weights(write({.family = "llama"}));
  EXPECT_EQ(llama->layers[0].o.bias.size(), 128u);
  EXPECT_EQ(llama->layers[0].up.bias.size(), 256u);
}

TEST_F(WeightsTest, WidthsComeFromTheShapes) {
  TinyModel options{.quantized = AffineSpec{4, 32}};
  options.modules[kQ] = {6, 128};
  options.modules["lm_head"] = {0, 0};
  const auto w = load_weights(write(options));
  EXPECT_EQ(w->layers[0].q.rows.bits, 6);
  EXPECT_EQ(w->layers[0].q.rows.group, 128);
  EXPECT_EQ(w->layers[0].k.rows.bits, 4);
  EXPECT_EQ(w->layers[0].k.rows.group, 32);
  EXPECT_EQ(w->head.rows.kind, WeightKind::kBF16);
  EXPECT_TRUE(w->warnings.empty());
}

TEST_F(WeightsTest, AConfigThatSaysOtherwiseIsAWarning) {
  TinyModel options{.quantized = AffineSpec{3, 64}};
  options.config_changes = {{"quantization", {{"bits", 8}, {"group_size", 32}}}};
  const auto w = load_weights(write(options));
  EXPECT_EQ(w->layers[0].q.rows.bits, 3);
  ASSERT_EQ(w->warnings.size(), 1u);  // one for all modules
  EXPECT_HAS(w->warnings[0], "8 bits in groups of 32");
  EXPECT_HAS(w->warnings[0], "3 bits in groups of 64");
  EXPECT_HAS(w->warnings[0], "model.embed_tokens and 8 more");

  const auto unlisted =
      load_weights(write({.quantized = AffineSpec{4, 64}, .list_in_config = false}));
  ASSERT_EQ(unlisted->warnings.size(), 1u);
  EXPECT_HAS(unlisted->warnings[0], "no quantization");
}

TEST_F(WeightsTest, MissingAndUnexpectedTensors) {
  const fs::path missing = write({});
  rewrite(missing, [](auto& t) {
    std::erase_if(t, [](const Tensor& x) { return x.name == "model.norm.weight"; });
  });
  EXPECT_HAS(error_of(missing), "model.norm.weight] no such tensor");

  const fs::path extra = write({});
  rewrite(extra, [](auto& t) {
    t.push_back({"model.extra", DType::kF32, {1}, std::vector<std::byte>(4)});
  });
  EXPECT_HAS(error_of(extra), "model.extra] unexpected tensor");

  const fs::path harmless = write({.family = "llama", .tied = true});
  rewrite(harmless, [](auto& t) {
    t.push_back({"lm_head.weight", DType::kF32, {1}, std::vector<std::byte>(4)});
    t.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq",
                 DType::kF32,
                 {1},
                 std::vector<std::byte>(4)});
  });
  EXPECT_EQ(error_of(harmless), "");
}

TEST_F(WeightsTest, WrongShapeOrType) {
  const fs::path shape = write({});
  rewrite(shape, [](auto& t) { named(t, std::string(kQ) + ".weight").shape = {128, 256}; });
  EXPECT_HAS(error_of(shape), "q_proj.weight] got shape [128, 256], expected [256, 128]");

  const fs::path type = write({});
  rewrite(type, [](auto& t) { named(t, "model.norm.weight").dtype = DType::kI16; });
  EXPECT_HAS(error_of(type), "model.norm.weight] got dtype I16, expected BF16, F16 or F32");

  const fs::path words = write({.quantized = AffineSpec{4, 64}});
  rewrite(words, [](auto& t) {
    Tensor& q = named(t, std::string(kQ) + ".weight");
    q.shape = {256, 7};
    q.bytes.resize(256 * 7 * 4);
  });
  EXPECT_HAS(error_of(words), "got 7 words and 2 scales");

  const fs::path rows = write({.quantized = AffineSpec{4, 64}});
  rewrite(rows, [](auto& t) {
    Tensor& q = named(t, std::string(kQ) + ".scales");
    q.shape = {2, 256};
  });
  EXPECT_HAS(error_of(rows), "q_proj.scales] got shape [2, 256], expected [256, 128 / group]");

  const fs::path biases = write({.quantized = AffineSpec{4, 64}});
  rewrite(biases, [](auto& t) { named(t, std::string(kQ) + ".biases").dtype = DType::kF16; });
  EXPECT_HAS(error_of(biases), "q_proj.biases] got dtype F16, expected BF16");

  const fs::path alone = write({.quantized = AffineSpec{4, 64}});
  rewrite(alone, [](auto& t) {
    std::erase_if(t, [](const Tensor& x) { return x.name == std::string(kQ) + ".scales"; });
  });
  EXPECT_HAS(error_of(alone), "q_proj.scales] no such tensor");
}

TEST_F(WeightsTest, OtherModesAreNamedAndRefused) {
  for (const char* mode : {"mxfp4", "nvfp4", "mxfp8"}) {
    TinyModel options{.quantized = AffineSpec{4, 32}};
    options.config_changes = {{"quantization", {{"bits", 4}, {"group_size", 32}, {"mode", mode}}}};
    EXPECT_HAS(error_of(write(options)), mode);
  }
  struct Case {
    const char* mode;
    std::int64_t words, groups;
  };
  // By the shapes alone, with a config.json that does not say.
  for (const Case& c : {Case{"mxfp4", 16, 4}, Case{"nvfp4", 16, 8}, Case{"mxfp8", 32, 4}}) {
    const fs::path directory = write({.quantized = AffineSpec{4, 32}, .list_in_config = false});
    rewrite(directory, [&](auto& t) {
      Tensor& q = named(t, std::string(kQ) + ".weight");
      q.shape = {256, c.words};
      q.bytes.resize(static_cast<std::size_t>(256 * c.words * 4));
      Tensor& s = named(t, std::string(kQ) + ".scales");
      s.dtype = DType::kU8;
      s.shape = {256, c.groups};
      s.bytes.resize(static_cast<std::size_t>(256 * c.groups));
      std::erase_if(t, [](const Tensor& x) { return x.name == std::string(kQ) + ".biases"; });
    });
    EXPECT_HAS(error_of(directory), c.mode);
  }
}

// 16.8 MB and more of matrices are read ahead; a table that only embeds is not among them.
TEST_F(WeightsTest, LargeMatricesAreReadAhead) {
  const std::int64_t vocab = (std::int64_t{16} << 20) / (128 * 2);
  EXPECT_EQ(load_weights(write({}))->prefetch, nullptr);
  EXPECT_NE(load_weights(write({.tied = true, .vocab = vocab}))->prefetch, nullptr);
  EXPECT_NE(load_weights(write({.tied = false, .vocab = vocab}))->prefetch, nullptr);
  EXPECT_EQ(load_weights(write({.tied = false, .vocab = vocab / 2}))->prefetch, nullptr);
}

}  // namespace
}  // namespace qx
