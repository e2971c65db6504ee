// A task at work in the engine. For engine*.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "generate/stop_text.h"
#include "serve/engine.h"

namespace qx {

// The segments that a sequence's keys and values go to: blocks of kPrefixBlock positions, which the
// tree shares once they are full.
struct SequenceChain {
  std::shared_ptr<KvSegment> tail = {};
  std::int64_t position = 0;  // tokens whose keys and values are there, or in the pass at hand
  std::int64_t tail_end = 0;  // where the tail is full, or must not grow
  PrefixTree::Node* node = nullptr;  // of the last full block
  bool in_tree = true;               // all full blocks are the tree's
  struct Filled {
    std::shared_ptr<KvSegment> segment;
    std::int64_t begin = 0;
  };
  std::vector<Filled> filled = {};  // blocks that the pass at hand fills

  // Adds chunks that append tokens[position, position + count). outputs: of the last token only, or
  // of all, or none (they point to storage that lives as long as the plan).
  enum class Outputs { kNone, kLast, kAll };
  void append(Model& model, std::span<const TokenId> tokens, std::int64_t count, Outputs outputs,
              std::vector<Chunk>& chunks);
  // After the pass: gives the tree what was filled.
  void commit(PrefixTree& tree, std::span<const TokenId> tokens);
  // Another text goes on from here: the tail is shared from now on, and grows no more.
  void fork() { tail_end = position; }
  // Of how many tokens the next append() may be, so that they can be taken back: none that fill a
  // block.
  std::int64_t revocable() const;
  // Forgets the last `count` tokens of such an append(), after the pass.
  void take_back(std::int64_t count);
};

struct EngineChoice {
  EngineChoice(int the_index, const GenerationTask& task, const Tokenizer& tokenizer);

  int index;
  SequenceChain chain = {};
  std::vector<TokenId> tokens =
      {};  // the prompt and what was made; the last is not in the chain yet
  Sampler sampler;
  StreamDetokenizer detokenizer;
  StopText stop;
  std::int64_t generated = 0;
  bool done = false;

  // Guesses that the pass at hand reads behind the last token; until then they are the end of
  // tokens.
  std::vector<TokenId> draft = {};
  std::optional<Drafter> drafter = {};
  std::int64_t rows() const { return 1 + static_cast<std::int64_t>(draft.size()); }  // of the pass

  // What the sampling of a step left for its report, which takes the tokens one after the other.
  struct Choice {
    TokenId id = 0;
    std::optional<StepLogprobs> logprobs = {};
    bool whole = false;  // the constraint lets nothing follow
  };
  std::vector<Choice> chosen = {};
  std::string failure = {};  // what happened behind them
};

struct EngineGroup {
  using Clock = std::chrono::steady_clock;

  explicit EngineGroup(GenerationTask the_task) : task(std::move(the_task)) {}

  GenerationTask task;
  SequenceChain prompt_chain = {};
  std::int64_t cached = 0, shared_rows = 0;  // shared_rows: of the pass at hand
  bool reading = true;
  std::vector<StepLogprobs> prompt_logprobs = {};  // by position, of the token behind it
  std::atomic<bool> failed{false};                 // scoring the prompt, by several threads
  std::vector<std::unique_ptr<EngineChoice>> choices = {};  // once the prompt is read
  std::int64_t made = 0, drafted = 0, accepted = 0;  // tokens that the engine has not counted yet
  bool finished = false;
  bool started = false;

  std::int64_t prompt_size() const { return static_cast<std::int64_t>(task.prompt.size()); }
  std::int64_t reserved() const;  // positions at the longest
  std::int64_t left() const { return prompt_size() - prompt_chain.position; }
  bool cancelled() const { return task.ticket && task.ticket->cancelled(); }

  void start(Model& model, PrefixTree& tree);
  // The log-probability of the token behind a prompt's position, from the position's logits.
  void score_prompt(std::int64_t position, std::span<float> logits);
  // Once the prompt is in the chain. report_prompt() follows the choices' first sample().
  void begin_choices(const Tokenizer& tokenizer);
  void report_prompt();
  // Guesses what a choice goes on with. budget: tokens that a draft model reads now, at most; there
  // is no guess where more is left.
  void draft(EngineChoice& choice, const DrafterOptions& options, std::int64_t vocab_size,
             std::int64_t budget) const;
  // Chooses the next tokens of a choice from the logits of its rows of the pass, which are changed:
  // one, and one more for every guess that it was.
  void sample(EngineChoice& choice, std::span<float> logits) const;
  // Tells the sink what sample() chose.
  void report(EngineChoice& choice);
  void fail(GenerationFailure failure, const std::string& message);

 private:
  bool stops_at(TokenId id) const;
  bool sample_row(EngineChoice& choice, std::span<float> logits) const;
  void report_token(EngineChoice& choice, const EngineChoice::Choice& chosen);
  GenerationConstraint* constraint_of(const EngineChoice& choice) const;  // or null
  void finish(EngineChoice& choice, FinishReason reason, std::string text,
              const StepLogprobs* stop_logprobs = nullptr);
};

// Of the id and of the `top` most probable ones, from log-probabilities.
StepLogprobs describe_logprobs(std::span<const float> logprobs, TokenId id, std::int64_t top);

}  // namespace qx
