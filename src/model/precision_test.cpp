// The precisions of linear layers: what each may differ by, and that none depends on batch, split or
// threads.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <numeric>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "kernels/api.h"
#include "model/model.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class PrecisionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_precision_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    Random random(5);
    for (std::size_t i = 0; i < 70; ++i) ids_.push_back(static_cast<TokenId>(random.below(384)));
    outputs_.resize(ids_.size());
    std::iota(outputs_.begin(), outputs_.end(), 0);
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path write(TinyModel options) {
    const fs::path directory = root_ / std::to_string(count_++);
    options.tokenizer = options.chat_template = false;
    write_tiny_model(directory, options);
    return directory;
  }
  // Three bits, six bits and float in one layer, with different groups: inputs are prepared for all.
  fs::path write_mixed() {
    TinyModel options{.quantized = AffineSpec{3, 32}};
    options.modules["model.layers.0.self_attn.k_proj"] = {6, 64};
    options.modules["model.layers.0.self_attn.v_proj"] = {0, 0};
    options.modules["model.layers.1.mlp.up_proj"] = {8, 64};
    return write(options);
  }

  // Logits of the tokens from begin on, after what the segment holds.
  std::vector<float> logits(Model& model, KvSegment& segment, std::size_t begin, std::size_t end) {
    const Chunk chunk{&segment, std::span(ids_).subspan(begin, end - begin),
                      std::span(outputs_).first(end - begin)};
    const Hidden hidden = model.forward({&chunk, 1});
    std::vector<float> all;
    std::vector<float> row(static_cast<std::size_t>(model.config().vocab_size));
    for (std::int64_t r = 0; r < hidden.rows; ++r) {
      model.logits(hidden.row(r), row);
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }
  std::vector<float> logits_of_all(const fs::path& directory, Precision precision,
                                   int threads = 2) {
    ThreadPool pool(threads);
    const auto model = load_model(directory, pool, precision);
    const auto segment = model->new_segment(nullptr, 70);
    return logits(*model, *segment, 0, ids_.size());
  }

  fs::path root_;
  int count_ = 0;
  std::vector<TokenId> ids_;
  std::vector<std::int32_t> outputs_;
};

double relative_rms(const std::vector<float>& got, const std::vector<float>& expected) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double e = static_cast<double>(expected[i]), d = static_cast<double>(got[i]) - e;
    error += d * d;
    size += e * e;
  }
  return std::sqrt(error / size);
}

// An activation is off by at most 1/65024 of its group's largest (exact) or 1/254 (fast), evenly
// spread: about 0.58 of that as a root mean square, against typical values of a third of the
// largest. Three layers of it add up to a few times as much.
TEST_F(PrecisionTest, ErrorsAreThoseOfTheActivations) {
  for (const char* family : {"qwen3", "qwen2", "llama"}) {
    for (const AffineSpec spec : {AffineSpec{2, 32}, AffineSpec{4, 64}, AffineSpec{8, 32}}) {
      SCOPED_TRACE(fmt::format("{} {} bits", family, spec.bits));
      const fs::path directory = write({.family = family, .quantized = spec});
      const auto reference = logits_of_all(directory, Precision::kReference);
      const double exact = relative_rms(logits_of_all(directory, Precision::kExact), reference);
      const double fast = relative_rms(logits_of_all(directory, Precision::kFast), reference);
      EXPECT_LT(exact, 4.0 / 65024 * 3);
      EXPECT_LT(fast, 4.0 / 254 * 3);
      // Too good would mean that they are not in use.
      EXPECT_GT(exact, 0.2 / 65024);
      EXPECT_GT(fast, 0.2 / 254);
    }
  }
}

TEST_F(PrecisionTest, FloatWeightsAreTheSameInReferenceAndExact) {
  const fs::path directory = write({.family = "qwen3"});
  EXPECT_EQ(logits_of_all(directory, Precision::kExact),
            logits_of_all(directory, Precision::kReference));
}

// Rounding to bfloat16 moves a value by at most 2^-9 of it, 0.4 of that as a root mean square;
// three layers of it add up to a few times as much.
TEST_F(PrecisionTest, FastRoundsActivationsOfBfloat16Weights) {
  for (const char* family : {"qwen3", "qwen2", "llama"}) {
    SCOPED_TRACE(family);
    const fs::path directory = write({.family = family});
    const double error = relative_rms(logits_of_all(directory, Precision::kFast),
                                      logits_of_all(directory, Precision::kReference));
    EXPECT_LT(error, 4 * 0x1p-9);
    EXPECT_GT(error, 0.2 * 0x1p-9);
  }
}

TEST_F(PrecisionTest, FastLeavesOtherFloatWeightsAsInReference) {
  for (const DType dtype : {DType::kF16, DType::kF32}) {
    const fs::path directory = write({.dtype = dtype});
    EXPECT_EQ(logits_of_all(directory, Precision::kFast),
              logits_of_all(directory, Precision::kReference));
  }
}

// Without an instruction for bfloat16 products all kernels give equal bits; those that have it add
// in another order, so they differ, but by no more than rounding of float32 sums.
TEST_F(PrecisionTest, FastOnBfloat16WeightsOfEveryTable) {
  const fs::path directory = write({.layers = 1});
  const std::string before = kernels().name;
  const KernelTables& all = available_kernels();
  std::vector<float> expected;
  for (int i = 0; i < all.count; ++i) {
    SCOPED_TRACE(all.tables[i]->name);
    ASSERT_TRUE(select_kernels(all.tables[i]->name));
    const std::vector<float> got = logits_of_all(directory, Precision::kFast);
    if (expected.empty()) expected = got;
    if (all.tables[i]->linear_bf16 == nullptr) {
      EXPECT_EQ(got, expected);
    } else {
      EXPECT_NE(got, expected);
      // A sum that is off in its last bit can round to the other neighbour in the next layer.
      EXPECT_LT(relative_rms(got, expected), 0.5 * 0x1p-9);
    }
  }
  ASSERT_TRUE(select_kernels(before.c_str()));
}

TEST_F(PrecisionTest, SplitsAndThreadsChangeNoBit) {
  struct Case {
    fs::path directory;
    Precision precision;
  };
  const fs::path mixed = write_mixed(), floats = write({.hidden = 96, .intermediate = 208});
  for (const auto& [directory, precision] :
       {Case{mixed, Precision::kExact}, Case{mixed, Precision::kFast},
        Case{floats, Precision::kFast}}) {
    SCOPED_TRACE(fmt::format("{} {}", directory.filename().string(), precision_name(precision)));
    const std::vector<float> expected = logits_of_all(directory, precision, 1);
    for (const int threads : {2, 3, 8}) {
      EXPECT_EQ(logits_of_all(directory, precision, threads), expected) << threads;
    }
    ThreadPool pool(2);
    const auto model = load_model(directory, pool, precision);
    for (const std::size_t cut : {1u, 2u, 9u, 33u, 69u}) {
      const auto parent = model->new_segment(nullptr, 70), child = model->new_segment(parent, 70);
      std::vector<float> got = logits(*model, *parent, 0, cut);
      const std::vector<float> rest = logits(*model, *child, cut, ids_.size());
      got.insert(got.end(), rest.begin(), rest.end());
      EXPECT_EQ(got, expected) << cut;
    }
  }
}

TEST_F(PrecisionTest, ScoresAgreeWithLogits) {
  const fs::path directory = write_mixed();
  ThreadPool pool(2);
  for (const Precision precision : {Precision::kExact, Precision::kFast}) {
    const auto model = load_model(directory, pool, precision);
    const auto segment = model->new_segment(nullptr, 70);
    const Chunk chunk{segment.get(), ids_, outputs_};
    const Hidden hidden = model->forward({&chunk, 1});
    const std::vector<TokenScore> scores = model->score(hidden, ids_);
    std::vector<float> row(static_cast<std::size_t>(model->config().vocab_size));
    for (std::size_t r = 0; r < ids_.size(); ++r) {
      model->logits(hidden.row(static_cast<std::int64_t>(r)), row);
      double sum = 0;
      for (const float v : row) sum += std::exp(static_cast<double>(v));
      EXPECT_NEAR(scores[r].logprob,
                  static_cast<double>(row[static_cast<std::size_t>(ids_[r])]) - std::log(sum),
                  1e-5);
    }
  }
}

}  // namespace
}  // namespace qx
