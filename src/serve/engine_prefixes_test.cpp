// The tree of prefixes from one engine to the next, through a file.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>

#include "base/error.h"
#include "base/random.h"
#include "recipe/summary.h"
#include "serve/engine.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class AnswerSink final : public GenerationSink {
 public:
  void on_prompt(PromptReport report) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    cached_ = report.cached;
  }
  void on_token(GeneratedToken token) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    tokens_.push_back(token.id);
  }
  void on_finish(ChoiceReport) override {}
  void on_all_finished() override { end(); }
  void on_failure(GenerationFailure, const std::string& message) override {
    ADD_FAILURE() << message;
    end();
  }
  // Of the whole answer: how much of the prompt was there, and what was said.
  std::pair<std::int64_t, std::vector<TokenId>> wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return ended_; });
    return {cached_, tokens_};
  }

 private:
  void end() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::int64_t cached_ = -1;
  std::vector<TokenId> tokens_;
};

class EnginePrefixesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_prefixes_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    write_tiny_model(root_ / "m", {.layers = 2, .context = 2048});
    model_ = load_model(root_ / "m", pool_, Precision::kReference);
    tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::load(root_ / "m"));
    block_bytes_ = memory_needs(model_->config(), 0, kPrefixBlock).cache;
  }
  void TearDown() override {
    model_.reset();
    fs::remove_all(root_);
  }
  std::unique_ptr<ServeEngine> start(std::int64_t blocks) {
    return std::make_unique<ServeEngine>(*model_, *tokenizer_, pool_, turn_,
                                         EngineLimits{.prefix_bytes = blocks * block_bytes_});
  }
  static std::vector<TokenId> prompt_of(std::size_t size, unsigned seed) {
    Random random(seed);
    std::vector<TokenId> ids(size);
    for (TokenId& id : ids) id = static_cast<TokenId>(random.below(256));
    return ids;
  }
  static auto ask(ServeEngine& engine, const std::vector<TokenId>& prompt) {
    const auto sink = std::make_shared<AnswerSink>();
    std::vector<GenerationTask> tasks(1);
    tasks[0].prompt = prompt;
    tasks[0].max_tokens = 5;
    tasks[0].sink = sink;
    EXPECT_EQ(engine.submit(std::move(tasks)), ServeEngine::Submitted::kAccepted);
    return sink->wait();
  }
  fs::path file() const { return root_ / "prefixes.safetensors"; }

  fs::path root_;
  ThreadPool pool_{2};
  std::unique_ptr<Model> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  ComputeTurn turn_;
  std::int64_t block_bytes_ = 0;
};

TEST_F(EnginePrefixesTest, ANewEngineGoesOnFromAnothersTree) {
  const std::vector<TokenId> a = prompt_of(400, 1), c = prompt_of(200, 3);
  std::vector<TokenId> b(a.begin(), a.begin() + 300);  // shares two blocks with a
  const auto other = prompt_of(100, 2);
  b.insert(b.end(), other.begin(), other.end());
  std::vector<TokenId> said[3];
  {
    const auto engine = start(100);
    said[0] = ask(*engine, a).second;
    said[1] = ask(*engine, b).second;
    said[2] = ask(*engine, c).second;
    engine->stop();
    engine->save_prefixes(file(), {Json{{"of", "m"}}, Json(), "m"});
  }
  const KvFile read(file());
  EXPECT_EQ(read.segments().size(), 2U + 1U + 1U + 1U);
  const auto engine = start(100);
  EXPECT_EQ(engine->load_prefixes(read), 5 * kPrefixBlock);
  EXPECT_EQ(engine->stats().prefix_bytes, 5 * block_bytes_);
  EXPECT_EQ(ask(*engine, a), std::pair(std::int64_t{384}, said[0]));
  EXPECT_EQ(ask(*engine, b), std::pair(std::int64_t{384}, said[1]));
  EXPECT_EQ(ask(*engine, c), std::pair(std::int64_t{128}, said[2]));
}

TEST_F(EnginePrefixesTest, WhatWasUsedLastIsLoadedWhenNotAllFits) {
  const std::vector<TokenId> a = prompt_of(300, 1), b = prompt_of(300, 2), c = prompt_of(300, 3);
  {
    const auto engine = start(100);
    for (const auto* prompt : {&a, &b, &c, &a}) (void)ask(*engine, *prompt);
    engine->stop();
    engine->save_prefixes(file(), {Json(), Json(), "m"});
  }
  const auto engine = start(4);
  EXPECT_EQ(engine->load_prefixes(KvFile(file())), 4 * kPrefixBlock);
  // c is a leaf that was used before a: it goes first.
  EXPECT_EQ(ask(*engine, prompt_of(130, 9)).first, 0);
  EXPECT_EQ(ask(*engine, a).first, 256);
  EXPECT_EQ(ask(*engine, c).first, 128);
  EXPECT_EQ(ask(*engine, b).first, 0);
}

TEST_F(EnginePrefixesTest, ATextOfOnePieceIsCutIntoBlocks) {
  const std::vector<TokenId> text = prompt_of(300, 4);
  const auto segment = model_->new_segment(nullptr, 300);
  const Chunk chunk{segment.get(), text, {}};
  model_->forward({&chunk, 1});
  const KvFileEntry whole{-1, text, segment.get(), 0};
  write_kv_file(file(), {Json(), Json(), "m"}, {&whole, 1}, false);
  const auto fresh = start(0)->stats();
  EXPECT_EQ(fresh.prefix_bytes, 0);
  std::vector<TokenId> said;
  {
    const auto engine = start(0);
    EXPECT_EQ(engine->load_prefixes(KvFile(file())), 0);
    said = ask(*engine, text).second;
    engine->stop();
    engine->save_prefixes(root_ / "none", {Json(), Json(), "m"});
    EXPECT_FALSE(fs::exists(root_ / "none"));
  }
  const auto engine = start(100);
  EXPECT_EQ(engine->load_prefixes(KvFile(file())), 256);
  EXPECT_EQ(ask(*engine, text), std::pair(std::int64_t{256}, said));

  // Two texts that are no blocks.
  const KvFileEntry two[] = {whole, whole};
  write_kv_file(file(), {Json(), Json(), "m"}, two, true);
  EXPECT_THROW(start(100)->load_prefixes(KvFile(file())), Error);

  // Whole blocks alone, and a block twice: what continues the second has no place in the tree.
  const std::span<const TokenId> first = std::span(text).first(128),
                                 rest = std::span(text).last(128);
  const KvFileEntry exact{-1, std::span(text).first(256), segment.get(), 0};
  write_kv_file(file(), {Json(), Json(), "m"}, {&exact, 1}, true);
  EXPECT_EQ(start(100)->load_prefixes(KvFile(file())), 256);
  const KvFileEntry twice[] = {
      {-1, first, segment.get(), 0}, {-1, first, segment.get(), 0}, {1, rest, segment.get(), 0}};
  write_kv_file(file(), {Json(), Json(), "m"}, twice, true);
  EXPECT_EQ(start(100)->load_prefixes(KvFile(file())), 128);
}

}  // namespace
}  // namespace qx
