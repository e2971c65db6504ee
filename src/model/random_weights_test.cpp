// SPDX-License-Identifier: Apache-2.0
#include "model/random_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "arch/shapes.h"
#include "base/error.h"
#include "model/cpu_model.h"
#include "support/tiny_model.h"

namespace qx {
namespace {

ModelConfig tiny(const std::string& family, bool tied) {
  TinyModel options;
  options.family = family;
  options.tied = tied;
  return parse_model_config(tiny_config(options), "test");
}

Plan plan_of(const ModelConfig& config, const std::string& recipe) {
  PlanRequest request;
  request.recipe = recipe;
  return make_plan(config, request);
}

double deviation(std::span<const float> values) {
  double sum = 0, squares = 0;
  for (const float v : values) {
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / n - sum * sum / (n * n));
}

TEST(RandomWeights, LogitsAreFiniteAndOfNormalSize) {
  ThreadPool pool(2);
  for (const std::string family : {"qwen3", "qwen2", "llama"}) {
    for (const bool tied : {false, true}) {
      for (const std::string recipe : {"q4-hi", "q2", "qx63-hi", "q8", "bf16", "f32"}) {
        const ModelConfig config = tiny(family, tied);
        const auto model = make_cpu_model(random_weights(config, plan_of(config, recipe), {}, pool),
                                          pool, Precision::kReference);
        std::vector<TokenId> tokens(40);
        std::iota(tokens.begin(), tokens.end(), 3);
        const auto segment = model->new_segment(nullptr, 40);
        const std::int32_t last[] = {39};
        const Chunk chunk{segment.get(), tokens, last};
        const Hidden hidden = model->forward({&chunk, 1});
        std::vector<float> logits(static_cast<std::size_t>(config.vocab_size));
        model->logits(hidden.row(0), logits);
        const double spread = deviation(logits);
        EXPECT_GT(spread, 0.3) << family << tied << recipe;
        EXPECT_LT(spread, 5.0) << family << tied << recipe;
      }
    }
  }
}

TEST(RandomWeights, BytesAreThePlansAndDoNotDependOnThreads) {
  for (const bool tied : {false, true}) {
    const ModelConfig config = tiny("llama", tied);
    const Plan plan = plan_of(config, "qx63-hi");
    ThreadPool one(1), three(3);
    const auto a = random_weights(config, plan, {7, true}, one);
    const auto b = random_weights(config, plan, {7, true}, three);
    const auto c = random_weights(config, plan, {8, true}, one);
    const auto size = static_cast<std::size_t>(plan.tensor_bytes);
    EXPECT_EQ(std::memcmp(a->memory.get(), b->memory.get(), size), 0);
    EXPECT_NE(std::memcmp(a->memory.get(), c->memory.get(), size), 0);

    // Matrices as the model sees them, and vectors of bf16, are all that the plan counts.
    std::int64_t bytes = stored_bytes(a->embedding.rows);
    if (!tied) bytes += stored_bytes(a->head.rows);
    std::size_t floats = a->norm.size();
    for (const LayerWeights& l : a->layers) {
      for (const Linear* linear : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) {
        bytes += stored_bytes(linear->rows);
        floats += linear->bias.size();
      }
      floats += l.input_norm.size() + l.post_norm.size() + l.q_norm.size() + l.k_norm.size();
    }
    EXPECT_EQ(bytes + static_cast<std::int64_t>(2 * floats), plan.tensor_bytes);
    EXPECT_EQ(a->head.rows.values == a->embedding.rows.values, tied);
  }
}

// A tensor's last byte is written: nothing of the block stays as the system gave it.
TEST(RandomWeights, FillEveryArrayToItsEnd) {
  const ModelConfig config = tiny("qwen3", false);
  ThreadPool pool(2);
  const auto w = random_weights(config, plan_of(config, "q3"), {}, pool);
  for (const LayerWeights& l : w->layers) {
    for (const Linear* linear : {&l.q, &l.down}) {
      const WeightRows& r = linear->rows;
      std::vector<float> row(static_cast<std::size_t>(r.cols));
      kernels().decode_row(r, r.rows - 1, 0, r.cols, row.data());
      EXPECT_NEAR(deviation(row), std::sqrt(1.0 / static_cast<double>(r.cols)),
                  0.25 * std::sqrt(1.0 / static_cast<double>(r.cols)));
    }
  }
}

TEST(RandomWeights, MoreThanTheMachineHasIsRefused) {
  ModelConfig config = shape_config("qwen3-8b");
  config.num_hidden_layers = 4000;
  ThreadPool pool(1);
  EXPECT_THROW(random_weights(config, plan_of(config, "f32"), {}, pool), Error);
}

TEST(TokenCost, CountsByHand) {
  ModelWeights w;
  w.layers.resize(1);
  const auto matrix = [](std::int64_t rows, std::int64_t cols, int bits) {
    Linear l;
    l.rows.kind = bits == 16 ? WeightKind::kBF16 : WeightKind::kAffine;
    l.rows.bits = bits;
    l.rows.group = 64;
    l.rows.rows = rows;
    l.rows.cols = cols;
    return l;
  };
  w.layers[0].q = matrix(128, 64, 4);     // 128 rows of 32 + 4 bytes
  w.layers[0].down = matrix(64, 64, 16);  // 64 rows of 128 bytes
  w.head = matrix(1000, 64, 6);           // 1000 rows of 48 + 4 bytes
  w.embedding = matrix(1000, 64, 8);      // one row of 64 + 4 bytes
  const TokenCost cost = token_cost(w);
  EXPECT_EQ(cost.weight_bytes, 128 * 36 + 64 * 128 + 1000 * 52 + 68);
  EXPECT_EQ(cost.layer_macs, 128 * 64 + 64 * 64);
  EXPECT_EQ(cost.last_layer_macs, 64 * 64);
}

}  // namespace
}  // namespace qx
