// What the engine is asked for, and how it tells what comes of it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "generate/generate.h"
#include "generate/sampler.h"
#include "text/tokenizer.h"

namespace qx {

struct PromptReport {
  std::int64_t tokens = 0;
  std::int64_t cached = 0;  // of them, those whose keys and values were there already
  // With prompt_logprobs: of each prompt token but the first.
  std::vector<StepLogprobs> logprobs = {};
};

struct GeneratedToken {
  int choice = 0;
  TokenId id = 0;
  std::string text;  // what may be shown by now; may lag behind the token
  const StepLogprobs* logprobs = nullptr;
};

struct ChoiceReport {
  int choice = 0;
  FinishReason reason = FinishReason::kStop;
  std::string text;  // the rest
  std::int64_t generated = 0;
  // Of the stop token that ended the text, when one did and logprobs are asked for.
  const StepLogprobs* stop_logprobs = nullptr;
};

enum class GenerationFailure { kCancelled, kTimeout, kStopping, kMemory, kInternal };

// Hears of one task: on_prompt, then tokens and the finish of every choice; or on_failure at any
// point, after which nothing comes. on_all_finished is the end of what went well.
// Threads: called on the engine's thread, which waits: it must be quick.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  virtual void on_prompt(PromptReport report) = 0;
  virtual void on_token(GeneratedToken token) = 0;
  virtual void on_finish(ChoiceReport report) = 0;
  virtual void on_all_finished() = 0;
  virtual void on_failure(GenerationFailure failure, const std::string& message) = 0;
};

// Says that nobody wants the answer any more. Threads: any.
class GenerationTicket {
 public:
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_{false};
};

// Keeps a text in a form (a JSON schema): what may come next. One for each choice; its owner calls it
// from one thread at a time.
class GenerationConstraint {
 public:
  virtual ~GenerationConstraint() = default;
  virtual void mask(std::span<float> logits) = 0;  // forbidden tokens become -infinity
  virtual void accept(TokenId id) = 0;             // one that mask() allowed, no stop token
  virtual bool finished() const = 0;               // whole, and nothing may follow
};

struct GenerationTask {
  std::vector<TokenId> prompt = {};
  int choices = 1;              // texts from the one prompt; the seeds are seed, and others from it
  std::int64_t max_tokens = 0;  // 0: the prompt is read, and nothing made
  SamplerOptions sampling = {};
  std::vector<TokenId> stop_tokens = {};         // not part of the text
  std::vector<std::string> stop = {};            // nor these
  DecodeSpecial special = DecodeSpecial::kSkip;  // whether special tokens are part of the text
  bool logprobs = false, prompt_logprobs = false;
  std::int64_t top_logprobs = 0;
  std::vector<std::shared_ptr<GenerationConstraint>> constraints = {};  // none, or one a choice
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  std::shared_ptr<GenerationTicket> ticket = {};  // may be null
  std::shared_ptr<GenerationSink> sink = {};
};

}  // namespace qx
