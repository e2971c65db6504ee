// The forward pass against the plain one in double, and against itself under other splits, batches
// and thread counts.
// SPDX-License-Identifier: Apache-2.0
#include "model/cpu_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>
#include <string>

#include "base/random.h"
#include "model/reference_forward.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class CpuModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_model_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path write(TinyModel options) {
    const fs::path directory = root_ / ("model" + std::to_string(count_++));
    options.tokenizer = options.chat_template = false;
    write_tiny_model(directory, options);
    return directory;
  }

  static std::vector<TokenId> tokens(std::size_t count, std::uint64_t seed = 5) {
    Random random(seed);
    std::vector<TokenId> out(count);
    for (TokenId& t : out) t = static_cast<TokenId>(random.below(384));
    return out;
  }

  fs::path root_;
  int count_ = 0;
};

std::vector<std::int32_t> all_of(std::size_t count) {
  std::vector<std::int32_t> outputs(count);
  std::iota(outputs.begin(), outputs.end(), 0);
  return outputs;
}

Hidden forward_whole(Model& model, std::span<const TokenId> tokens) {
  const auto segment = model.new_segment(nullptr, static_cast<std::int64_t>(tokens.size()));
  const auto outputs = all_of(tokens.size());
  const Chunk chunk{segment.get(), tokens, outputs};
  return model.forward({&chunk, 1});
}

double relative_rms(Model& model, const Hidden& hidden,
                    const std::vector<std::vector<double>>& expected) {
  std::vector<float> logits(static_cast<std::size_t>(model.config().vocab_size));
  double error = 0, size = 0;
  for (std::int64_t r = 0; r < hidden.rows; ++r) {
    model.logits(hidden.row(r), logits);
    for (std::size_t v = 0; v < logits.size(); ++v) {
      const double e = expected[static_cast<std::size_t>(r)][v];
      error += (static_cast<double>(logits[v]) - e) * (static_cast<double>(logits[v]) - e);
      size += e * e;
    }
  }
  return std::sqrt(error / size);
}

// Float32 sums of at most 256 terms, three layers: the error of one rounding (6e-8) grows by well
// under a factor of 50.
constexpr double kTolerance = 3e-6;

TEST_F(CpuModelTest, AgreesWithThePlainForward) {
  ThreadPool pool(2);
  const auto ids = tokens(20);
  struct Case {
    const char* family;
    bool tied;
    DType dtype;
    AffineSpec spec;  // bits 0: float
  };
  const Case cases[] = {
      {"qwen3", false, DType::kBF16, {0, 0}},  {"qwen2", true, DType::kF16, {0, 0}},
      {"llama", false, DType::kF32, {0, 0}},   {"qwen3", true, DType::kBF16, {2, 32}},
      {"qwen2", false, DType::kF16, {3, 64}},  {"llama", true, DType::kF32, {4, 128}},
      {"qwen3", false, DType::kF16, {5, 32}},  {"qwen2", true, DType::kBF16, {6, 64}},
      {"llama", false, DType::kBF16, {8, 32}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{} {} bits", c.family, c.spec.bits));
    TinyModel options{.family = c.family, .tied = c.tied, .dtype = c.dtype};
    if (c.spec.bits > 0) options.quantized = c.spec;
    const fs::path directory = write(options);
    const auto model = load_model(directory, pool, Precision::kReference);
    EXPECT_TRUE(model->warnings().empty());
    const Hidden hidden = forward_whole(*model, ids);
    ASSERT_EQ(hidden.rows, 20);
    EXPECT_LT(relative_rms(*model, hidden, reference_forward(*load_weights(directory), ids)),
              kTolerance);
  }
}

TEST_F(CpuModelTest, RopeScalingReachesTheModel) {
  ThreadPool pool(1);
  const auto ids = tokens(20);
  const fs::path plain = write({.family = "llama"});
  const fs::path scaled = write({.family = "llama",
                                 .config_changes = {{"rope_scaling",
                                                     {{"rope_type", "llama3"},
                                                      {"factor", 4.0},
                                                      {"low_freq_factor", 1.0},
                                                      {"high_freq_factor", 4.0},
                                                      {"original_max_position_embeddings", 32}}}}});
  const auto model = load_model(scaled, pool, Precision::kReference);
  const Hidden hidden = forward_whole(*model, ids);
  EXPECT_LT(relative_rms(*model, hidden, reference_forward(*load_weights(scaled), ids)),
            kTolerance);
  EXPECT_GT(relative_rms(*model, hidden, reference_forward(*load_weights(plain), ids)), 1e-3);
}

// One sequence, whole and cut into segments in many ways: every bit alike.
TEST_F(CpuModelTest, SplitsAndThreadsChangeNoBit) {
  TinyModel options{.quantized = AffineSpec{4, 32}};
  options.modules["model.layers.1.mlp.up_proj"] = {0, 0};
  const fs::path directory = write(options);
  const auto ids = tokens(150);  // more than one block of keys
  const auto outputs = all_of(ids.size());
  std::vector<float> expected;
  std::vector<TokenScore> expected_scores;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    const auto model = load_model(directory, pool, Precision::kReference);
    const Hidden whole = forward_whole(*model, ids);
    const auto scores = model->score(whole, ids);
    if (expected.empty()) {
      expected = whole.values;
      expected_scores = scores;
    }
    ASSERT_EQ(whole.values, expected) << threads;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      ASSERT_EQ(scores[i].logprob, expected_scores[i].logprob) << i;
      ASSERT_EQ(scores[i].best, expected_scores[i].best) << i;
    }
    for (const std::size_t cut : {1u, 17u, 64u, 149u}) {
      // One call with parent and child; then two calls on one segment; then parent and child.
      const auto parent = model->new_segment(nullptr, 150);
      const auto child = model->new_segment(parent, 150);
      const std::span<const TokenId> all(ids);
      const std::span<const std::int32_t> first(outputs.data(), cut),
          rest(outputs.data(), 150 - cut);
      const Chunk both[] = {{parent.get(), all.first(cut), first},
                            {child.get(), all.subspan(cut), rest}};
      ASSERT_EQ(model->forward(both).values, expected) << cut;

      const auto single = model->new_segment(nullptr, 150);
      Hidden pieces = model->forward(std::vector<Chunk>{{single.get(), all.first(cut), first}});
      const Hidden tail =
          model->forward(std::vector<Chunk>{{single.get(), all.subspan(cut), rest}});
      pieces.values.insert(pieces.values.end(), tail.values.begin(), tail.values.end());
      ASSERT_EQ(pieces.values, expected) << cut;

      child->truncate(child->begin());
      const Hidden again =
          model->forward(std::vector<Chunk>{{child.get(), all.subspan(cut), rest}});
      ASSERT_EQ(again.values, tail.values) << cut;
    }
  }
}

TEST_F(CpuModelTest, LongSequencesAgreeWithThePlainForward) {
  ThreadPool pool(2);
  const auto ids = tokens(140);  // more than one block of keys and of rows
  const fs::path directory = write({.layers = 1});
  const auto model = load_model(directory, pool, Precision::kReference);
  const Hidden hidden = forward_whole(*model, ids);
  EXPECT_LT(relative_rms(*model, hidden, reference_forward(*load_weights(directory), ids)),
            kTolerance);
}

// An item's tree: a stem, two branches, one of them with two leaves, beside an unrelated chunk.
TEST_F(CpuModelTest, BatchesAndTreesChangeNoBit) {
  ThreadPool pool(2);
  const auto model =
      load_model(write({.family = "qwen2", .tied = true, .quantized = AffineSpec{3, 64}}), pool,
                 Precision::kReference);
  const auto ids = tokens(40), other = tokens(90, 6), leaf = tokens(3, 7);
  const std::span<const TokenId> all(ids);
  const auto last_of = [&](std::vector<TokenId> sequence) {
    const Hidden h = forward_whole(*model, sequence);
    const auto row = h.row(h.rows - 1);
    return std::vector<float>(row.begin(), row.end());
  };
  const auto joined = [](std::span<const TokenId> a, std::span<const TokenId> b) {
    std::vector<TokenId> out(a.begin(), a.end());
    out.insert(out.end(), b.begin(), b.end());
    return out;
  };

  const auto stem = model->new_segment(nullptr, 40);
  const auto alone = model->new_segment(nullptr, 90);
  const auto branch = model->new_segment(stem, 20);
  const auto leaf_a = model->new_segment(branch, 3);
  const auto leaf_b = model->new_segment(stem, 3);
  const std::int32_t last3[] = {2}, last20[] = {19}, last90[] = {89};
  const std::vector<Chunk> tree = {{stem.get(), all.first(20), {}},
                                   {alone.get(), other, last90},
                                   {branch.get(), all.subspan(20), last20},
                                   {leaf_a.get(), leaf, last3},
                                   {leaf_b.get(), leaf, last3}};
  const Hidden h = model->forward(tree);
  ASSERT_EQ(h.rows, 4);
  const auto row = [&](std::int64_t r) {
    return std::vector<float>(h.row(r).begin(), h.row(r).end());
  };
  EXPECT_EQ(row(0), last_of(other));
  EXPECT_EQ(row(1), last_of(ids));
  EXPECT_EQ(row(2), last_of(joined(ids, leaf)));
  EXPECT_EQ(row(3), last_of(joined(all.first(20), leaf)));

  // Scores of a row do not depend on the rows beside it, nor on how many there are.
  std::vector<TokenId> targets = {1, 100, 383, 7};
  const auto together = model->score(h, targets);
  for (std::int64_t r = 0; r < 4; ++r) {
    const Hidden one{1, h.width, row(r)};
    const auto alone_score = model->score(one, std::span(targets).subspan(r, 1));
    EXPECT_EQ(alone_score[0].logprob, together[static_cast<std::size_t>(r)].logprob);
  }
}

// Keys and values in fewer bits: near the float32 ones, and as independent of cuts and threads.
TEST_F(CpuModelTest, KeysAndValuesInFewerBits) {
  const fs::path directory = write({.family = "qwen3"});
  const auto ids = tokens(60);
  const std::span<const TokenId> all(ids);
  const auto outputs = all_of(ids.size());
  const auto expected = reference_forward(*load_weights(directory), ids);
  struct Case {
    KvBits bits;
    double least, most;  // relative RMS of the logits
  };
  // An element is off by up to 2^-12 of itself, or 1/510 or 1/30 of the range of 64. Attention averages
  // that, and is one of two additions to the residual in each of three layers.
  for (const Case& c : {Case{KvBits::k32, 0, kTolerance},
                        {KvBits::k16, 1e-6, 5e-4},
                        {KvBits::k8, 1e-4, 1e-2},
                        {KvBits::k4, 2e-3, 0.2}}) {
    SCOPED_TRACE(static_cast<int>(c.bits));
    std::vector<float> first;
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      const auto model = load_model(directory, pool, Precision::kReference, c.bits);
      const Hidden whole = forward_whole(*model, ids);
      if (first.empty()) first = whole.values;
      EXPECT_EQ(whole.values, first);
      const double error = relative_rms(*model, whole, expected);
      EXPECT_GE(error, c.least);
      EXPECT_LT(error, c.most);
      for (const std::size_t cut : {1u, 16u, 45u}) {
        const auto parent = model->new_segment(nullptr, 60), child = model->new_segment(parent, 60);
        Hidden pieces = model->forward(
            std::vector<Chunk>{{parent.get(), all.first(cut), std::span(outputs).first(cut)}});
        const Hidden tail = model->forward(std::vector<Chunk>{
            {child.get(), all.subspan(cut), std::span(outputs).first(60 - cut)}});
        pieces.values.insert(pieces.values.end(), tail.values.begin(), tail.values.end());
        EXPECT_EQ(pieces.values, first) << cut;
      }
    }
  }
}

TEST_F(CpuModelTest, ScoresAreLogSoftmaxOfTheLogits) {
  ThreadPool pool(2);
  // More than one block of the vocabulary, the last one partly filled.
  const auto model = load_model(write({.vocab = 2500, .quantized = AffineSpec{8, 64}}), pool,
                                Precision::kReference);
  const auto ids = tokens(150);  // more than one batch of rows
  const Hidden hidden = forward_whole(*model, ids);
  std::vector<TokenId> targets(ids.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    targets[i] = static_cast<TokenId>(i * 1237 % 2500);
  }
  targets[0] = 2499;
  targets[1] = 1023;
  targets[2] = 1024;
  const auto scores = model->score(hidden, targets);
  std::vector<float> logits(2500);
  for (std::size_t r = 0; r < ids.size(); ++r) {
    model->logits(hidden.row(static_cast<std::int64_t>(r)), logits);
    std::size_t best = 0;
    for (std::size_t v = 0; v < logits.size(); ++v) best = logits[v] > logits[best] ? v : best;
    const auto max = static_cast<double>(logits[best]);
    double sum = 0;
    for (const float v : logits) sum += std::exp(static_cast<double>(v) - max);
    const auto target = static_cast<double>(logits[static_cast<std::size_t>(targets[r])]);
    const double expected = target - max - std::log(sum);
    // exp in float32 with a relative error of a few 1e-7, added in double.
    EXPECT_NEAR(scores[r].logprob, expected, 1e-6) << r;
    EXPECT_EQ(scores[r].best, static_cast<TokenId>(best)) << r;
  }
}

TEST_F(CpuModelTest, BadTokensAndOverfullSegmentsAreErrors) {
  ThreadPool pool(1);
  const auto model = load_model(write({}), pool, Precision::kReference);
  const auto segment = model->new_segment(nullptr, 4);
  const auto run = [&](std::vector<TokenId> ids) {
    const Chunk chunk{segment.get(), ids, {}};
    return model->forward({&chunk, 1});
  };
  EXPECT_THROW(run({1, 384}), Error);
  EXPECT_THROW(run({-1}), Error);
  EXPECT_THROW(run({1, 2, 3, 4, 5}), Error);
  EXPECT_EQ(segment->end(), 0);
  run({1, 2, 3});
  EXPECT_THROW(run({4, 5}), Error);
  EXPECT_EQ(segment->end(), 3);
  const Hidden hidden = forward_whole(*model, tokens(2));
  EXPECT_THROW(model->score(hidden, std::vector<TokenId>{0, 384}), Error);
}

TEST_F(CpuModelTest, WeightsThatAreNotFiniteAreReported) {
  ThreadPool pool(2);
  for (const bool quantized : {false, true}) {
    TinyModel options{.dtype = DType::kF32};
    if (quantized) options.quantized = AffineSpec{4, 64};
    const fs::path directory = write(options);
    // Everything after the header of 8 + N bytes becomes NaN, or codes 15 with NaN scales.
    const fs::path path = directory / "model.safetensors";
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    std::uint64_t header = 0;
    file.read(reinterpret_cast<char*>(&header), 8);
    file.seekp(static_cast<std::streamoff>(8 + header));
    const std::string bytes(fs::file_size(path) - 8 - header, '\xFF');
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    const auto model = load_model(directory, pool, Precision::kReference);
    const Hidden hidden = forward_whole(*model, tokens(5));
    EXPECT_THROW(model->score(hidden, tokens(5)), Error);
    std::vector<float> logits(384);
    EXPECT_THROW(model->logits(hidden.row(0), logits), Error);
  }
}

}  // namespace
}  // namespace qx
