// A text that is made one token at a time, as a Python generator wants it: the generation loop
// (generate/generate.h) runs on a thread of its own, which works only while the consumer waits in
// next(). SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bindings.h"
#include "constrain/token_constraint.h"
#include "generate/generate.h"
#include "generate/stop_text.h"

namespace qx::python {

struct TextStep {
  std::string text;  // what may be shown by now; may lag behind the token
  TokenId token = 0;
  std::vector<float> logprobs;  // of the whole vocabulary
  std::int64_t prompt_tokens = 0, reused_tokens = 0, generated = 0;
  double prompt_seconds = 0, generation_seconds = 0;  // of work, without the consumer's time
  std::int64_t generation_steps = 0;                  // in generation_seconds
  std::string finish_reason;                          // "" but for the last step
};

struct TextSettings {
  std::vector<TokenId> prompt;
  GenerateOptions generate;  // without its functions
  std::vector<std::string> stop;
  std::shared_ptr<SchemaGrammar> schema;
  bool skip_special_tokens = false;
};

// Threads: one consumer at a time. It holds the model's mutex only in next(), so between steps the
// model may be used for other things.
class TextStream {
 public:
  // cache may be null. Fails: Error when the cache is in use.
  TextStream(std::shared_ptr<LoadedModel> model, std::shared_ptr<ModelTokenizer> tokenizer,
             std::shared_ptr<PromptCache> cache, TextSettings settings);
  ~TextStream();
  TextStream(const TextStream&) = delete;
  TextStream& operator=(const TextStream&) = delete;

  // The next step; nothing after the last one. Called with the GIL, which it gives up. Fails: what
  // the loop throws; nb::python_error when a signal handler raised, which ends the text.
  std::optional<TextStep> next();
  // Ends the text where it is. Called with the GIL. May be called twice.
  void close();

 private:
  void work();
  void run_loop();
  void on_token(TokenId id);
  void hand_over();
  bool wait_for_step();

  std::shared_ptr<LoadedModel> model_;
  std::shared_ptr<ModelTokenizer> tokenizer_;
  std::shared_ptr<PromptCache> cache_;
  TextSettings settings_;
  std::int64_t limit_ = 0;  // tokens of the text, at most
  StreamDetokenizer detokenizer_;
  StopText stop_;
  std::optional<TokenConstraint> constraint_;

  // Of the thread that has the turn.
  TextStep step_;
  double resumed_at_ = 0;
  bool finished_ = false, taken_ = false;  // taken: the last step was given out
  std::exception_ptr failure_;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool consumers_turn_ = true;  // guarded by mutex_
  bool cancelled_ = false;      // guarded by mutex_
  std::thread thread_;
};

}  // namespace qx::python
