// Forward passes, logits and scores are the same bytes for every number of threads.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "model/model.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class ThreadsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_threads_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }
  fs::path root_;
};

std::vector<TokenId> tokens(std::int64_t count, std::int64_t vocab, std::int64_t seed) {
  std::vector<TokenId> ids;
  for (std::int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<TokenId>((i * i * 31 + i * 7 + seed * 101) % vocab));
  }
  return ids;
}

// The bits of everything that a model gives for a tree of sequences and for single tokens after it.
std::vector<std::uint64_t> all_bits(const fs::path& directory, Precision precision, int threads) {
  ThreadPool pool(threads);
  const auto model = load_model(directory, pool, precision);
  const std::int64_t vocab = model->config().vocab_size;
  std::vector<std::uint64_t> bits;
  const auto add = [&](float value) { bits.push_back(std::bit_cast<std::uint32_t>(value)); };

  const std::vector<TokenId> context = tokens(70, vocab, 1);
  const std::vector<TokenId> left = tokens(33, vocab, 2), right = tokens(5, vocab, 3);
  const auto root = model->new_segment(nullptr, 70);
  const auto a = model->new_segment(root, 40), b = model->new_segment(root, 5);
  std::vector<std::int32_t> every(33);
  std::iota(every.begin(), every.end(), 0);
  const std::int32_t last_of_context[] = {69};
  const Chunk chunks[] = {{root.get(), context, last_of_context},
                          {a.get(), left, every},
                          {b.get(), right, std::span(every).first(5)}};
  const Hidden hidden = model->forward(chunks);
  for (const float v : hidden.values) add(v);
  for (const TokenScore& score : model->score(hidden, tokens(hidden.rows, vocab, 4))) {
    bits.push_back(std::bit_cast<std::uint64_t>(score.logprob));
    bits.push_back(static_cast<std::uint64_t>(score.best));
  }

  std::vector<float> logits(static_cast<std::size_t>(vocab));
  for (TokenId id = 0; id < 3; ++id) {
    const std::int32_t only[] = {0};
    const Chunk one{a.get(), {&id, 1}, only};
    model->logits(model->forward({&one, 1}).row(0), logits);
    for (const float v : logits) add(v);
  }
  return bits;
}

TEST_F(ThreadsTest, NoBitDependsOnTheirNumber) {
  struct Case {
    const char* family;
    AffineSpec spec;  // bits 0: float
  };
  const Case cases[] = {{"qwen3", {4, 32}}, {"qwen2", {0, 0}}, {"llama", {3, 64}}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.family);
    TinyModel options{.family = c.family, .vocab = 2500};  // three blocks of the score
    if (c.spec.bits > 0) options.quantized = c.spec;
    const fs::path directory = root_ / c.family;
    write_tiny_model(directory, options);
    for (const Precision precision : {Precision::kReference, Precision::kExact, Precision::kFast}) {
      SCOPED_TRACE(static_cast<int>(precision));
      const std::vector<std::uint64_t> one = all_bits(directory, precision, 1);
      for (const int threads : {2, 3, 8}) {
        EXPECT_EQ(all_bits(directory, precision, threads), one) << threads;
      }
    }
  }
}

}  // namespace
}  // namespace qx
