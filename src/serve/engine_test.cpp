// SPDX-License-Identifier: Apache-2.0
#include "serve/engine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "recipe/summary.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// What became of a task, and a way to wait for its end.
class TestSink final : public GenerationSink {
 public:
  struct Text {
    std::vector<TokenId> tokens;
    std::vector<StepLogprobs> logprobs;
    std::string text;
    std::optional<FinishReason> reason;
  };

  void on_prompt(PromptReport report) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    prompt = std::move(report);
  }
  void on_token(GeneratedToken token) override {
    std::unique_lock<std::mutex> lock(mutex_);
    Text& text = texts[token.choice];
    text.tokens.push_back(token.id);
    text.text += token.text;
    if (token.logprobs != nullptr) text.logprobs.push_back(*token.logprobs);
    changed_.notify_all();
    changed_.wait(lock, [&] { return !held_; });
  }
  void on_finish(ChoiceReport report) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    texts[report.choice].text += report.text;
    texts[report.choice].reason = report.reason;
  }
  void on_all_finished() override { end(); }
  void on_failure(GenerationFailure f, const std::string&) override {
    failure = f;
    end();
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return ends_ > 0; });
  }
  void wait_for_token() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return ends_ > 0 || !texts[0].tokens.empty(); });
  }
  // Stops the engine at its next token of this task, until release().
  void hold() {
    const std::lock_guard<std::mutex> lock(mutex_);
    held_ = true;
  }
  void release() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      held_ = false;
    }
    changed_.notify_all();
  }
  int ends() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return ends_;
  }

  std::map<int, Text> texts;
  PromptReport prompt;
  std::optional<GenerationFailure> failure;

 private:
  void end() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++ends_;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  int ends_ = 0;
  bool held_ = false;
};

class ServeEngineTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_engine_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    write_tiny_model(root_ / "m", {.layers = 2, .context = 2048});
    pool_ = std::make_unique<ThreadPool>(2);
    model_ = load_model(root_ / "m", *pool_, Precision::kReference);
    same_ = load_model(root_ / "m", *pool_, Precision::kReference);
    write_tiny_model(root_ / "other", {.seed = 9, .layers = 1, .context = 100});
    other_ = load_model(root_ / "other", *pool_, Precision::kReference);
    tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::load(root_ / "m"));
  }
  static void TearDownTestSuite() {
    model_.reset();
    same_.reset();
    other_.reset();
    pool_.reset();
    fs::remove_all(root_);
  }

  std::unique_ptr<ServeEngine> start(EngineLimits limits = {}) {
    return std::make_unique<ServeEngine>(*model_, *tokenizer_, *pool_, turn_, limits);
  }

  static std::vector<TokenId> prompt_of(std::size_t size, unsigned seed) {
    Random random(seed);
    std::vector<TokenId> ids(size);
    for (TokenId& id : ids) id = static_cast<TokenId>(random.below(256));
    return ids;
  }

  static GenerationTask task_of(std::vector<TokenId> prompt, std::int64_t tokens,
                                std::shared_ptr<TestSink> sink) {
    GenerationTask task;
    task.prompt = std::move(prompt);
    task.max_tokens = tokens;
    task.sink = std::move(sink);
    return task;
  }

  static void submit(ServeEngine& engine, GenerationTask task) {
    std::vector<GenerationTask> tasks;
    tasks.push_back(std::move(task));
    ASSERT_EQ(engine.submit(std::move(tasks)), ServeEngine::Submitted::kAccepted);
  }

  // What the plain loop makes of it.
  static std::vector<TokenId> alone(const std::vector<TokenId>& prompt, std::int64_t tokens,
                                    SamplerOptions sampling = {}) {
    GenerateOptions options;
    options.max_tokens = tokens;
    options.sampling = sampling;
    return generate(*model_, prompt, options, [](TokenId) {}).tokens;
  }

  static inline fs::path root_;
  static inline std::unique_ptr<ThreadPool> pool_;
  static inline std::unique_ptr<Model> model_, same_, other_;
  static inline std::unique_ptr<Tokenizer> tokenizer_;
  ComputeTurn turn_;
};

TEST_F(ServeEngineTest, TextsAreThoseOfThePlainLoopWhateverElseIsInTheBatch) {
  // Prompts of all sizes, around the borders of blocks, sampled and not; more than run at once.
  const std::size_t sizes[] = {1, 2, 127, 128, 129, 300, 17, 256, 5, 40};
  std::vector<std::shared_ptr<TestSink>> sinks;
  std::vector<std::vector<TokenId>> expected;
  const auto engine = start({.parallel = 4, .prefix_bytes = 1 << 24, .pass_rows = 48});
  for (unsigned i = 0; i < std::size(sizes); ++i) {
    const SamplerOptions sampling{.temperature = i % 2 == 0 ? 0.0 : 1.3, .seed = i};
    const auto prompt = prompt_of(sizes[i], i);
    expected.push_back(alone(prompt, 20 + i, sampling));
    sinks.push_back(std::make_shared<TestSink>());
  }
  for (unsigned i = 0; i < std::size(sizes); ++i) {
    GenerationTask task = task_of(prompt_of(sizes[i], i), 20 + i, sinks[i]);
    task.sampling = {.temperature = i % 2 == 0 ? 0.0 : 1.3, .seed = i};
    submit(*engine, std::move(task));
  }
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    sinks[i]->wait();
    EXPECT_EQ(sinks[i]->texts[0].tokens, expected[i]) << i;
    EXPECT_EQ(sinks[i]->texts[0].reason, FinishReason::kLength);
    EXPECT_EQ(sinks[i]->prompt.tokens, static_cast<std::int64_t>(sizes[i]));
    EXPECT_EQ(sinks[i]->texts[0].text, tokenizer_->decode(expected[i], DecodeSpecial::kSkip));
  }
}

TEST_F(ServeEngineTest, AnEarlierPrefixIsUsedAndChangesNothing) {
  const auto engine = start({.prefix_bytes = 1 << 24});
  std::vector<TokenId> prompt = prompt_of(400, 3);
  const auto first = std::make_shared<TestSink>();
  submit(*engine, task_of(prompt, 30, first));
  first->wait();
  EXPECT_EQ(first->prompt.cached, 0);

  // The whole prompt again, what the first answer goes on with, and another end.
  std::vector<TokenId> longer = prompt;
  longer.insert(longer.end(), first->texts[0].tokens.begin(), first->texts[0].tokens.end());
  std::vector<TokenId> other(prompt.begin(), prompt.begin() + 200);
  other.push_back(7);
  for (const auto& [ids, cached] :
       {std::pair(prompt, std::int64_t{384}), std::pair(longer, std::int64_t{384}),
        std::pair(other, std::int64_t{128})}) {
    const auto sink = std::make_shared<TestSink>();
    submit(*engine, task_of(ids, 12, sink));
    sink->wait();
    EXPECT_EQ(sink->prompt.cached, cached);
    EXPECT_EQ(sink->texts[0].tokens, alone(ids, 12));
  }
}

TEST_F(ServeEngineTest, ThePrefixTreeKeepsItsBound) {
  // Room for three blocks.
  const std::int64_t block = memory_needs(model_->config(), 0, 1).cache * kPrefixBlock;
  const auto engine = start({.prefix_bytes = 3 * block});
  for (unsigned i = 0; i < 6; ++i) {
    const auto sink = std::make_shared<TestSink>();
    submit(*engine, task_of(prompt_of(300, i), 5, sink));
    sink->wait();
    EXPECT_EQ(sink->texts[0].tokens, alone(prompt_of(300, i), 5));
  }
  // The stats of a step that has been told are published after it.
  while (!engine->idle()) std::this_thread::yield();
  EXPECT_LE(engine->stats().prefix_bytes, 3 * block);
  EXPECT_GT(engine->stats().prefix_bytes, 0);
}

TEST_F(ServeEngineTest, ChoicesOfOnePromptDifferBySeedAlone) {
  const auto engine = start({.prefix_bytes = 1 << 24});
  for (const std::size_t size : {std::size_t{50}, std::size_t{128}}) {
    const auto prompt = prompt_of(size, 9);
    const auto sink = std::make_shared<TestSink>();
    GenerationTask task = task_of(prompt, 140, sink);
    task.choices = 3;
    task.sampling = {.temperature = 1, .seed = 5};
    submit(*engine, std::move(task));
    sink->wait();
    ASSERT_EQ(sink->texts.size(), 3u);
    EXPECT_EQ(sink->texts[0].tokens, alone(prompt, 140, {.temperature = 1, .seed = 5}));
    EXPECT_NE(sink->texts[0].tokens, sink->texts[1].tokens);
    EXPECT_NE(sink->texts[1].tokens, sink->texts[2].tokens);
  }
}

TEST_F(ServeEngineTest, PromptLogprobsAreTheScoresOfThePrompt) {
  const auto engine = start({.prefix_bytes = 1 << 24, .pass_rows = 64});
  const auto prompt = prompt_of(300, 4);
  // Twice: what is in the tree must not be skipped.
  for (int round = 0; round < 2; ++round) {
    const auto sink = std::make_shared<TestSink>();
    GenerationTask task = task_of(prompt, 0, sink);
    task.prompt_logprobs = true;
    task.top_logprobs = 2;
    submit(*engine, std::move(task));
    sink->wait();
    EXPECT_EQ(sink->texts[0].reason, FinishReason::kLength);
    EXPECT_TRUE(sink->texts[0].tokens.empty());
    ASSERT_EQ(sink->prompt.logprobs.size(), prompt.size() - 1);
    std::vector<std::int32_t> outputs(prompt.size() - 1);
    for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i] = static_cast<std::int32_t>(i);
    const auto segment = model_->new_segment(nullptr, 300);
    const Chunk chunk{segment.get(), prompt, outputs};
    const auto scores = model_->score(model_->forward({&chunk, 1}), std::span(prompt).subspan(1));
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const StepLogprobs& step = sink->prompt.logprobs[i];
      EXPECT_EQ(step.id, prompt[i + 1]);
      EXPECT_NEAR(step.logprob, scores[i].logprob, 1e-5);
      ASSERT_EQ(step.top.size(), 2u);
      EXPECT_EQ(step.top[0].first, scores[i].best);
    }
  }
}

TEST_F(ServeEngineTest, StopTokensAndStopStringsEndATextAndAreNotPartOfIt) {
  const auto prompt = prompt_of(20, 1);
  const auto free = alone(prompt, 40);
  const auto engine = start();
  const auto by_token = std::make_shared<TestSink>();
  GenerationTask task = task_of(prompt, 40, by_token);
  task.stop_tokens = {free[10]};
  submit(*engine, std::move(task));
  by_token->wait();
  const auto at = std::find(free.begin(), free.end(), free[10]);
  EXPECT_EQ(by_token->texts[0].tokens, std::vector<TokenId>(free.begin(), at));
  EXPECT_EQ(by_token->texts[0].reason, FinishReason::kStop);

  const std::string text = tokenizer_->decode(free, DecodeSpecial::kSkip);
  const std::string stop = text.substr(text.size() / 2, 5);
  const auto by_text = std::make_shared<TestSink>();
  task = task_of(prompt, 40, by_text);
  task.stop = {stop};
  submit(*engine, std::move(task));
  by_text->wait();
  EXPECT_EQ(by_text->texts[0].text, text.substr(0, text.find(stop)));
  EXPECT_EQ(by_text->texts[0].reason, FinishReason::kStop);
}

TEST_F(ServeEngineTest, ACancelledTaskFreesItsPlaceAndOthersGoOn) {
  const auto engine = start({.context = 2048, .parallel = 1});
  const auto sink = std::make_shared<TestSink>();
  sink->hold();
  GenerationTask task = task_of(prompt_of(5, 1), 2000, sink);
  task.ticket = std::make_shared<GenerationTicket>();
  const auto ticket = task.ticket;
  submit(*engine, std::move(task));
  const auto next = std::make_shared<TestSink>();
  submit(*engine, task_of(prompt_of(5, 2), 5, next));
  sink->wait_for_token();
  ticket->cancel();
  engine->wake();
  sink->release();
  sink->wait();
  EXPECT_EQ(sink->failure, GenerationFailure::kCancelled);
  EXPECT_LT(sink->texts[0].tokens.size(), 2000u);
  next->wait();
  EXPECT_EQ(next->texts[0].tokens, alone(prompt_of(5, 2), 5));
}

TEST_F(ServeEngineTest, AFullQueueRefusesAllOrNothing) {
  const auto engine = start({.parallel = 1, .waiting = 2});
  const auto busy = std::make_shared<TestSink>();
  busy->hold();
  submit(*engine, task_of(prompt_of(5, 1), 3, busy));
  busy->wait_for_token();
  const auto waiting = std::make_shared<TestSink>();
  submit(*engine, task_of(prompt_of(5, 2), 3, waiting));
  const auto refused = std::make_shared<TestSink>();
  std::vector<GenerationTask> two;
  two.push_back(task_of(prompt_of(5, 3), 3, refused));
  two.push_back(task_of(prompt_of(5, 4), 3, refused));
  EXPECT_EQ(engine->submit(std::move(two)), ServeEngine::Submitted::kFull);
  const auto last = std::make_shared<TestSink>();
  submit(*engine, task_of(prompt_of(5, 5), 3, last));
  busy->release();
  last->wait();
  EXPECT_EQ(waiting->ends(), 1);
  EXPECT_EQ(refused->ends(), 0);
}

TEST_F(ServeEngineTest, DrainingFinishesWhatRunsAndFailsWhatWaits) {
  const auto engine = start({.parallel = 1});
  const auto running = std::make_shared<TestSink>();
  running->hold();
  submit(*engine, task_of(prompt_of(5, 1), 30, running));
  running->wait_for_token();
  const auto waiting = std::make_shared<TestSink>();
  submit(*engine, task_of(prompt_of(5, 2), 30, waiting));
  engine->drain();
  running->release();
  waiting->wait();
  EXPECT_EQ(waiting->failure, GenerationFailure::kStopping);
  running->wait();
  EXPECT_EQ(running->texts[0].tokens, alone(prompt_of(5, 1), 30));
  std::vector<GenerationTask> late;
  late.push_back(task_of(prompt_of(5, 3), 1, std::make_shared<TestSink>()));
  EXPECT_EQ(engine->submit(std::move(late)), ServeEngine::Submitted::kStopping);
}

TEST_F(ServeEngineTest, AbortingEndsEveryTaskOnce) {
  const auto engine = start({.parallel = 2});
  std::vector<std::shared_ptr<TestSink>> sinks;
  for (unsigned i = 0; i < 5; ++i) {
    sinks.push_back(std::make_shared<TestSink>());
    if (i == 0) sinks[0]->hold();
    submit(*engine, task_of(prompt_of(5, i), 2000, sinks.back()));
  }
  sinks[0]->wait_for_token();
  std::thread stopping([&] { engine->stop(); });
  // It takes no tasks any more once it is told to stop; only then it goes on.
  const auto probe = std::make_shared<TestSink>();
  ServeEngine::Submitted submitted;
  do {
    std::this_thread::yield();
    std::vector<GenerationTask> one;
    one.push_back(task_of(prompt_of(5, 9), 2000, probe));
    submitted = engine->submit(std::move(one));
  } while (submitted != ServeEngine::Submitted::kStopping);
  sinks[0]->release();
  stopping.join();
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->ends(), 1);
    EXPECT_EQ(sink->failure, GenerationFailure::kStopping);
  }
}

TEST_F(ServeEngineTest, APassedDeadlineFailsATask) {
  const auto engine = start();
  const auto sink = std::make_shared<TestSink>();
  GenerationTask task = task_of(prompt_of(5, 1), 20, sink);
  task.deadline = std::chrono::steady_clock::time_point{};
  submit(*engine, std::move(task));
  sink->wait();
  EXPECT_EQ(sink->failure, GenerationFailure::kTimeout);
}

TEST_F(ServeEngineTest, ASinkThatThrowsEndsNobodyElse) {
  class Throwing final : public GenerationSink {
   public:
    void on_prompt(PromptReport) override {}
    void on_token(GeneratedToken) override {}
    void on_finish(ChoiceReport) override {}
    void on_all_finished() override {}
    void on_failure(GenerationFailure, const std::string&) override {
      throw std::runtime_error("no memory for the last word");
    }
  };
  const auto engine = start();
  GenerationTask late = task_of(prompt_of(4, 1), 4, nullptr);
  late.sink = std::make_shared<Throwing>();
  late.deadline = std::chrono::steady_clock::time_point::min();
  submit(*engine, std::move(late));
  const auto sink = std::make_shared<TestSink>();
  submit(*engine, task_of(prompt_of(4, 2), 4, sink));
  sink->wait();
  EXPECT_FALSE(sink->failure);
}

TEST_F(ServeEngineTest, AConstraintRulesWhatIsChosen) {
  // Even tokens alone, and the end after six.
  struct Even final : GenerationConstraint {
    void mask(std::span<float> logits) override {
      for (std::size_t i = 1; i < logits.size(); i += 2) {
        logits[i] = -std::numeric_limits<float>::infinity();
      }
    }
    void accept(TokenId) override { ++count; }
    bool finished() const override { return count == 6; }
    int count = 0;
  };
  for (Model* const draft : {static_cast<Model*>(nullptr), same_.get()}) {
    const auto engine =
        start({.drafts = {.model = draft, .context = 2048, .least_probability = 0}});
    const auto sink = std::make_shared<TestSink>();
    GenerationTask task = task_of(prompt_of(5, 1), 20, sink);
    task.choices = 2;
    task.sampling.temperature = 1;
    task.sampling.logit_bias = {{64, 50.0}, {66, 50.0}};  // guesses know no constraint
    task.constraints = {std::make_shared<Even>(), std::make_shared<Even>()};
    submit(*engine, std::move(task));
    sink->wait();
    while (!engine->idle()) std::this_thread::yield();
    EXPECT_EQ(engine->stats().accepted_tokens > 0, draft != nullptr);
    for (auto& [choice, text] : sink->texts) {
      EXPECT_EQ(text.tokens.size(), 6u);
      EXPECT_EQ(text.reason, FinishReason::kStop);
      for (const TokenId id : text.tokens) EXPECT_EQ(id % 2, 0);
    }
  }
}

// Guesses that are always right, hardly ever, and by prompt lookup; several texts at once, each
// across the borders of blocks.
TEST_F(ServeEngineTest, TextsAreThoseOfThePlainLoopWithGuessesToo) {
  const DrafterOptions drafters[] = {
      {.model = same_.get(), .model_tokens = 5, .context = 2048, .least_probability = 0},
      {.model = other_.get(), .model_tokens = 4, .context = 2048, .least_probability = 0},
      {.lookup_tokens = 32, .context = 2048}};
  for (const DrafterOptions& drafts : drafters) {
    const auto engine = start({.parallel = 3,
                               .prefix_bytes = 1 << 24,
                               .pass_rows = 48,
                               .drafts = drafts,
                               .draft_texts = 3});
    std::vector<std::shared_ptr<TestSink>> sinks;
    for (unsigned i = 0; i < 6; ++i) {
      sinks.push_back(std::make_shared<TestSink>());
      GenerationTask task = task_of(prompt_of(90 + 20 * i, i), 150, sinks.back());
      // Two tokens that alternate for a while, so that lookup has something to find.
      task.sampling = {.temperature = i % 2 == 0 ? 0.0 : 1.0, .seed = i};
      if (i > 2) task.sampling.logit_bias = {{65, 12.0}, {66, 12.0}};
      task.logprobs = true;
      task.choices = i == 5 ? 2 : 1;
      submit(*engine, std::move(task));
    }
    for (const auto& sink : sinks) sink->wait();
    while (!engine->idle()) std::this_thread::yield();
    const EngineStats stats = engine->stats();
    // The other model has a context of 100 positions.
    EXPECT_GT(stats.drafted_tokens, drafts.model == other_.get() ? 10 : 100);
    EXPECT_LE(stats.accepted_tokens, stats.drafted_tokens);
    if (drafts.model != other_.get()) {
      EXPECT_GT(stats.accepted_tokens, 100);
    }
    // Tokens that ended a text in the middle of a draft are guesses that were accepted.
    if (drafts.model == same_.get()) {
      EXPECT_EQ(stats.accepted_tokens, stats.drafted_tokens);
    }
    for (unsigned i = 0; i < sinks.size(); ++i) {
      GenerateOptions options{.max_tokens = 150, .report_logprobs = true};
      options.sampling = {.temperature = i % 2 == 0 ? 0.0 : 1.0, .seed = i};
      if (i > 2) options.sampling.logit_bias = {{65, 12.0}, {66, 12.0}};
      const Generation plain =
          generate(*model_, prompt_of(90 + 20 * i, i), options, [](TokenId) {});
      const TestSink::Text& text = sinks[i]->texts[0];
      EXPECT_EQ(text.tokens, plain.tokens) << i;
      EXPECT_EQ(text.reason, FinishReason::kLength);
      ASSERT_EQ(text.logprobs.size(), plain.logprobs.size());
      for (std::size_t t = 0; t < text.logprobs.size(); ++t) {
        EXPECT_EQ(text.logprobs[t].logprob, plain.logprobs[t].logprob);
      }
    }
    EXPECT_EQ(sinks[5]->texts[1].tokens.size(), 150u);
  }
}

TEST_F(ServeEngineTest, ATextCanEndInTheMiddleOfADraft) {
  const auto prompt = prompt_of(20, 1);
  const auto free = alone(prompt, 40);
  const std::string text = tokenizer_->decode(free, DecodeSpecial::kSkip);
  const auto engine = start(
      {.prefix_bytes = 1 << 24,
       .drafts = {
           .model = same_.get(), .model_tokens = 7, .context = 2048, .least_probability = 0}});
  for (std::size_t at = 0; at < 12; ++at) {
    const auto by_token = std::make_shared<TestSink>(), by_text = std::make_shared<TestSink>();
    GenerationTask task = task_of(prompt, 40, by_token);
    task.stop_tokens = {free[at]};
    submit(*engine, std::move(task));
    task = task_of(prompt, 40, by_text);
    task.stop = {text.substr(at, 4)};
    submit(*engine, std::move(task));
    by_token->wait();
    by_text->wait();
    const auto end = std::find(free.begin(), free.end(), free[at]);
    EXPECT_EQ(by_token->texts[0].tokens, std::vector<TokenId>(free.begin(), end));
    EXPECT_EQ(by_token->texts[0].reason, FinishReason::kStop);
    EXPECT_EQ(by_text->texts[0].text, text.substr(0, text.find(text.substr(at, 4))));
    EXPECT_EQ(by_text->texts[0].reason, FinishReason::kStop);
  }
}

TEST_F(ServeEngineTest, ManyTextsAtOnceGoWithoutGuesses) {
  const auto engine =
      start({.parallel = 2,
             .drafts = {.model = same_.get(), .context = 2048, .least_probability = 0},
             .draft_texts = 1});
  const auto first = std::make_shared<TestSink>(), second = std::make_shared<TestSink>();
  std::vector<GenerationTask> both;
  both.push_back(task_of(prompt_of(5, 1), 30, first));
  both.push_back(task_of(prompt_of(5, 2), 30, second));
  ASSERT_EQ(engine->submit(std::move(both)), ServeEngine::Submitted::kAccepted);
  first->wait();
  second->wait();
  while (!engine->idle()) std::this_thread::yield();
  EXPECT_EQ(engine->stats().drafted_tokens, 0);
  const auto third = std::make_shared<TestSink>();
  submit(*engine, task_of(prompt_of(5, 1), 30, third));
  third->wait();
  while (!engine->idle()) std::this_thread::yield();
  EXPECT_GT(engine->stats().drafted_tokens, 0);
  EXPECT_EQ(third->texts[0].tokens, first->texts[0].tokens);
}

TEST_F(ServeEngineTest, WhatCannotRunIsRefusedBeforehand) {
  const auto engine = start({.context = 100, .parallel = 2, .positions = 1000});
  const auto sink = std::make_shared<TestSink>();
  const auto refused = [&](GenerationTask task) {
    std::vector<GenerationTask> tasks;
    tasks.push_back(std::move(task));
    EXPECT_THROW(engine->submit(std::move(tasks)), Error);
  };
  refused(task_of({}, 5, sink));
  refused(task_of(prompt_of(90, 1), 11, sink));
  refused(task_of({1, 2, 100000}, 5, sink));
  refused(task_of({1, -1}, 5, sink));
  GenerationTask task = task_of({1}, 5, sink);
  task.choices = 3;
  refused(task);
  task = task_of({1}, 5, sink);
  task.sampling.logit_bias = {{100000, 1.0}};
  refused(task);
  EXPECT_EQ(sink->ends(), 0);
}

}  // namespace
}  // namespace qx
