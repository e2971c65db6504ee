// SPDX-License-Identifier: Apache-2.0
#include "generate/generate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class GenerateTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_generate_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    write_tiny_model(root_ / "m",
                     {.layers = 2, .context = 64, .tokenizer = false, .chat_template = false});
    pool_ = std::make_unique<ThreadPool>(2);
    model_ = load_model(root_ / "m", *pool_, Precision::kReference);
  }
  static void TearDownTestSuite() {
    model_.reset();
    pool_.reset();
    fs::remove_all(root_);
  }

  static Generation run(std::vector<TokenId> prompt, const GenerateOptions& options) {
    std::vector<TokenId> seen;
    Generation g = generate(*model_, prompt, options, [&](TokenId id) { seen.push_back(id); });
    EXPECT_EQ(seen, g.tokens);
    return g;
  }

  static inline fs::path root_;
  static inline std::unique_ptr<ThreadPool> pool_;
  static inline std::unique_ptr<Model> model_;
};

TEST_F(GenerateTest, GreedyFollowsTheModel) {
  const Generation g =
      run({1, 2, 3}, {.max_tokens = 6, .top_logprobs = 2, .report_logprobs = true});
  ASSERT_EQ(g.tokens.size(), 6u);
  EXPECT_EQ(g.finish_reason, FinishReason::kLength);
  EXPECT_EQ(g.prompt_tokens, 3);
  // The same by scoring the whole sequence at once.
  std::vector<TokenId> all = {1, 2, 3};
  all.insert(all.end(), g.tokens.begin(), g.tokens.end() - 1);
  const std::vector<std::int32_t> outputs = {2, 3, 4, 5, 6, 7};
  const auto segment = model_->new_segment(nullptr, 8);
  const Chunk chunk{segment.get(), all, outputs};
  const auto scores = model_->score(model_->forward({&chunk, 1}), g.tokens);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(scores[i].best, g.tokens[i]);
    EXPECT_EQ(g.logprobs[i].id, g.tokens[i]);
    EXPECT_NEAR(g.logprobs[i].logprob, scores[i].logprob, 1e-5);
    ASSERT_EQ(g.logprobs[i].top.size(), 2u);
    EXPECT_EQ(g.logprobs[i].top[0].first, g.tokens[i]);
    EXPECT_GE(g.logprobs[i].top[0].second, g.logprobs[i].top[1].second);
  }
}

TEST_F(GenerateTest, TheWholeRowOfLogProbabilitiesComesBeforeItsToken) {
  std::vector<double> chosen_from;  // of the row, at the token that came next
  std::vector<float> row;
  GenerateOptions options{.max_tokens = 5, .report_logprobs = true};
  options.on_logprobs = [&](std::span<const float> logprobs) {
    row.assign(logprobs.begin(), logprobs.end());
  };
  const Generation g = generate(*model_, std::vector<TokenId>{1, 2, 3}, options, [&](TokenId id) {
    ASSERT_EQ(static_cast<std::int64_t>(row.size()), model_->config().vocab_size);
    chosen_from.push_back(row[static_cast<std::size_t>(id)]);
    row.clear();
  });
  ASSERT_EQ(chosen_from.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(chosen_from[i], g.logprobs[i].logprob);
}

TEST_F(GenerateTest, AStopTokenEndsTheTextAndIsNotPartOfIt) {
  const Generation free = run({1, 2, 3}, {.max_tokens = 6});
  GenerateOptions options{.max_tokens = 6};
  options.stop = {free.tokens[3]};
  const auto first = std::find(free.tokens.begin(), free.tokens.end(), free.tokens[3]);
  const Generation stopped = run({1, 2, 3}, options);
  EXPECT_EQ(stopped.finish_reason, FinishReason::kStop);
  EXPECT_EQ(stopped.tokens, std::vector<TokenId>(free.tokens.begin(), first));
}

TEST_F(GenerateTest, TheContextEndsTheText) {
  const std::vector<TokenId> prompt(60, 7);
  const Generation g = run(prompt, {.max_tokens = 100});
  EXPECT_EQ(g.tokens.size(), 4u);
  EXPECT_EQ(g.finish_reason, FinishReason::kLength);
  EXPECT_EQ(run(std::vector<TokenId>(64, 7), {.max_tokens = 100}).tokens.size(), 0u);
  try {
    run(std::vector<TokenId>(65, 7), {});
    FAIL() << "a prompt of 65 tokens passed";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("got 65 tokens, expected at most 64"), std::string::npos)
        << e.what();
  }
  EXPECT_THROW(run({}, {}), Error);
}

TEST_F(GenerateTest, SamplingIsSeeded) {
  GenerateOptions options{.max_tokens = 20, .sampling = {.temperature = 2, .seed = 4}};
  const Generation a = run({5}, options), b = run({5}, options);
  EXPECT_EQ(a.tokens, b.tokens);
  options.sampling.seed = 5;
  EXPECT_NE(run({5}, options).tokens, a.tokens);
}

TEST_F(GenerateTest, PenaltiesLookAtPromptAndText) {
  GenerateOptions options{.max_tokens = 12};
  const Generation plain = run({1, 2, 3}, options);
  options.sampling.frequency_penalty = 1000;
  options.sampling.frequency_context_size = 0;
  const Generation spread = run({1, 2, 3}, options);
  std::vector<TokenId> all = {1, 2, 3};
  all.insert(all.end(), spread.tokens.begin(), spread.tokens.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end());  // nothing comes twice
  options.sampling = {.logit_bias = {{42, 1e6}}};
  EXPECT_EQ(run({1, 2, 3}, options).tokens, std::vector<TokenId>(12, 42));
  options.sampling.logit_bias = {{384, 1}};
  EXPECT_THROW(run({1, 2, 3}, options), Error);
}

TEST_F(GenerateTest, TheCallerCanEndTheText) {
  GenerateOptions options{.max_tokens = 6};
  const Generation whole = run({1, 2, 3}, options);
  int asked = 0;
  options.finished = [&] { return ++asked == 2; };
  const Generation stopped = run({1, 2, 3}, options);
  EXPECT_EQ(stopped.finish_reason, FinishReason::kStop);
  EXPECT_EQ(stopped.tokens, std::vector<TokenId>(whole.tokens.begin(), whole.tokens.begin() + 2));
  asked = 0;
  options.finished = {};
  options.cancelled = [&] { return ++asked == 4; };  // once before the prompt's only piece
  const Generation cancelled = run({1, 2, 3}, options);
  EXPECT_EQ(cancelled.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(cancelled.tokens.size(), 3u);
  options.cancelled = [] { return true; };
  EXPECT_EQ(run({1, 2, 3}, options).tokens.size(), 0u);
}

TEST_F(GenerateTest, AKeptSequenceComputesOnlyWhatIsNew) {
  KeptSequence kept(*model_, 64);
  const GenerateOptions options{.max_tokens = 5, .top_logprobs = 1, .report_logprobs = true};
  const auto check = [&](const std::vector<TokenId>& prompt, std::int64_t reused) {
    const Generation fresh = run(prompt, options);
    const Generation g = generate(*model_, kept, prompt, options, [](TokenId) {});
    EXPECT_EQ(g.reused_tokens, reused);
    EXPECT_EQ(g.tokens, fresh.tokens);
    for (std::size_t i = 0; i < g.logprobs.size(); ++i) {
      EXPECT_EQ(g.logprobs[i].logprob, fresh.logprobs[i].logprob);  // to the bit
    }
    return g.tokens;
  };
  const std::vector<TokenId> answer = check({1, 2, 3, 4}, 0);
  EXPECT_EQ(kept.tokens().size(), 8u);  // the last token was never read
  check({1, 2, 3, 4}, 3);               // all of it is there, yet its last output is needed
  std::vector<TokenId> longer = {1, 2, 3, 4};
  longer.insert(longer.end(), answer.begin(), answer.end());
  longer.push_back(9);
  check(longer, 8);
  check({1, 2, 7, 4, 5}, 2);
  check({8}, 0);
  std::vector<TokenId> too_long(65, 1);
  EXPECT_THROW(generate(*model_, kept, too_long, options, [](TokenId) {}), Error);
}

TEST_F(GenerateTest, PeakMemoryIsMeasured) {
  EXPECT_GT(peak_memory_bytes(), 1 << 20);
}

}  // namespace
}  // namespace qx
