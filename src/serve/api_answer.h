// Turns what the engine makes into an answer of OpenAI's API, as one document or as a stream of
// events.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "serve/answer_parts.h"
#include "serve/api_json.h"
#include "serve/generation_task.h"
#include "serve/http_server.h"
#include "serve/serve_metrics.h"

namespace qx {

struct AnswerShape {
  bool chat = true;
  std::string id, model;     // "chatcmpl-..", the name that clients know
  std::int64_t created = 0;  // Unix time
  int n = 1;                 // texts of each prompt: choice = prompt * n + text
  bool stream = false, include_usage = false, logprobs = false;
  AnswerFormat format = {};
  std::string opening = {};  // what the answer begins with already, made by the request itself
  std::vector<std::vector<TokenId>> echo = {};  // the prompts, when they are part of the answer
  std::vector<std::string> echo_texts = {};
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// Replies to one call. Threads: the engine's, one at a time.
class ApiAnswer : public std::enable_shared_from_this<ApiAnswer> {
 public:
  // All references outlive the answer. done: called once, with the status, when it has ended.
  ApiAnswer(AnswerShape shape, int prompts, const Tokenizer& tokenizer,
            std::shared_ptr<ServerCall> call, std::shared_ptr<GenerationTicket> ticket,
            ServeMetrics& metrics, std::function<void(int status)> done);
  ~ApiAnswer();
  ApiAnswer(const ApiAnswer&) = delete;
  ApiAnswer& operator=(const ApiAnswer&) = delete;

  // The engine refused the tasks: the call is answered by somebody else, and done never called.
  void withdraw() {
    ended_ = true;
    done_ = nullptr;
  }
  // The sink of one prompt's task.
  std::shared_ptr<GenerationSink> sink(int prompt);

 private:
  class Sink;
  struct Choice {
    explicit Choice(const Tokenizer& tokenizer, AnswerFormat format)
        : splitter(format), completion_logprobs(tokenizer) {}
    AnswerSplitter splitter;
    std::string text, thinking;
    Json tool_calls = Json::array();
    Json chat_logprobs = Json::array();
    CompletionLogprobs completion_logprobs;
    bool begun = false;  // its first event is written
    std::string finish_reason = {};
  };

  void on_prompt(int prompt, PromptReport report);
  void on_token(int prompt, GeneratedToken token);
  void on_finish(int prompt, ChoiceReport report);
  void on_all_finished();
  void on_failure(GenerationFailure failure, const std::string& message);

  Choice& choice_at(int prompt, int choice) {
    return choices_[static_cast<std::size_t>(prompt * shape_.n + choice)];
  }
  void begin_stream();
  void echo(int prompt, const PromptReport& report);
  void add_text(int index, std::string_view text, bool last);
  Json take_logprobs(Choice& choice) const;
  // A delta of a chat, or a piece of a completion's text.
  void add_parts(int index, std::vector<AnswerPart> parts, Json& delta);
  void write_chunk(int index, Json delta_or_text, const std::string* finish_reason);
  Json envelope(const char* chat_object, const char* completion_object) const;
  Json whole_choice(std::size_t index);
  void end(int status);

  const AnswerShape shape_;
  const Tokenizer& tokenizer_;
  const std::shared_ptr<ServerCall> call_;
  const std::shared_ptr<GenerationTicket> ticket_;
  ServeMetrics& metrics_;
  std::function<void(int)> done_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  std::vector<Choice> choices_;
  int prompts_left_;
  int calls_made_ = 0;
  UsageCounts usage_;
  bool streaming_ = false, ended_ = false, first_token_ = false;
};

// The HTTP status of a failure.
int failure_status(GenerationFailure failure);

}  // namespace qx
