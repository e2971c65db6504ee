// SPDX-License-Identifier: Apache-2.0
#include "serve/api_answer.h"

#include <algorithm>

#include "serve/api_error.h"

namespace qx {

class ApiAnswer::Sink final : public GenerationSink {
 public:
  Sink(std::shared_ptr<ApiAnswer> answer, int prompt)
      : answer_(std::move(answer)), prompt_(prompt) {}
  void on_prompt(PromptReport report) override { answer_->on_prompt(prompt_, std::move(report)); }
  void on_token(GeneratedToken token) override { answer_->on_token(prompt_, std::move(token)); }
  void on_finish(ChoiceReport report) override { answer_->on_finish(prompt_, std::move(report)); }
  void on_all_finished() override { answer_->on_all_finished(); }
  void on_failure(GenerationFailure failure, const std::string& message) override {
    answer_->on_failure(failure, message);
  }

 private:
  const std::shared_ptr<ApiAnswer> answer_;
  const int prompt_;
};

ApiAnswer::ApiAnswer(AnswerShape shape, int prompts, const Tokenizer& tokenizer,
                     std::shared_ptr<ServerCall> call, std::shared_ptr<GenerationTicket> ticket,
                     ServeMetrics& metrics, std::function<void(int)> done)
    : shape_(std::move(shape)),
      tokenizer_(tokenizer),
      call_(std::move(call)),
      ticket_(std::move(ticket)),
      metrics_(metrics),
      done_(std::move(done)),
      prompts_left_(prompts) {
  for (int i = 0; i < prompts * shape_.n; ++i) {
    choices_.emplace_back(tokenizer, shape_.format);
    if (!shape_.opening.empty()) choices_.back().splitter.push(shape_.opening);
  }
}

ApiAnswer::~ApiAnswer() {
  end(499);  // never ran: refused, or the call is answered by somebody else
}

std::shared_ptr<GenerationSink> ApiAnswer::sink(int prompt) {
  return std::make_shared<Sink>(shared_from_this(), prompt);
}

void ApiAnswer::end(int status) {
  if (ended_) return;
  ended_ = true;
  if (done_) done_(status);
}

Json ApiAnswer::envelope(const char* chat_object, const char* completion_object) const {
  return {{"id", shape_.id},
          {"object", shape_.chat ? chat_object : completion_object},
          {"created", shape_.created},
          {"model", shape_.model}};
}

void ApiAnswer::begin_stream() {
  if (!shape_.stream || streaming_) return;
  streaming_ = true;
  ServerReply head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers = shape_.headers;
  head.headers.emplace_back("Cache-Control", "no-cache");
  head.headers.emplace_back("X-Accel-Buffering", "no");
  call_->begin_stream(std::move(head));
}

void ApiAnswer::on_prompt(int prompt, PromptReport report) {
  if (ended_) return;
  usage_.prompt += report.tokens;
  usage_.cached += report.cached;
  begin_stream();
  if (!shape_.echo.empty()) echo(prompt, report);
}

void ApiAnswer::echo(int prompt, const PromptReport& report) {
  const auto& ids = shape_.echo[static_cast<std::size_t>(prompt)];
  const std::string& text = shape_.echo_texts[static_cast<std::size_t>(prompt)];
  for (int i = 0; i < shape_.n; ++i) {
    Choice& choice = choice_at(prompt, i);
    if (shape_.logprobs) {
      choice.completion_logprobs.add_first(ids.front());
      for (const StepLogprobs& step : report.logprobs) choice.completion_logprobs.add(step);
    }
    add_text(prompt * shape_.n + i, text, false);
  }
}

Json ApiAnswer::take_logprobs(Choice& choice) const {
  if (!shape_.logprobs) return nullptr;
  if (!shape_.chat) return choice.completion_logprobs.take();
  Json out = {{"content", std::move(choice.chat_logprobs)}};
  choice.chat_logprobs = Json::array();
  return out;
}

void ApiAnswer::on_token(int prompt, GeneratedToken token) {
  if (ended_) return;
  if (!first_token_) {
    first_token_ = true;
    metrics_.observe_first_token(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count());
  }
  Choice& choice = choice_at(prompt, token.choice);
  if (shape_.logprobs && token.logprobs != nullptr) {
    if (shape_.chat) {
      choice.chat_logprobs.push_back(chat_logprobs_entry(tokenizer_, *token.logprobs));
    } else {
      choice.completion_logprobs.add(*token.logprobs);
    }
  }
  add_text(prompt * shape_.n + token.choice, token.text, false);
}

// Text parts go where they belong: into the delta of a stream, or what the whole answer will hold.
void ApiAnswer::add_parts(int index, std::vector<AnswerPart> parts, Json& delta) {
  Choice& choice = choices_[static_cast<std::size_t>(index)];
  const auto append = [&](const char* name, const std::string& text) {
    if (!delta.contains(name)) delta[name] = "";
    delta[name].get_ref<std::string&>() += text;
  };
  for (AnswerPart& part : parts) {
    if (part.kind == AnswerPart::Kind::kText) {
      if (shape_.stream) {
        append("content", part.text);
      } else {
        choice.text += part.text;
      }
    } else if (part.kind == AnswerPart::Kind::kThinking) {
      if (shape_.stream) {
        append("reasoning_content", part.text);
      } else {
        choice.thinking += part.text;
      }
    } else {
      Json call = {{"index", choice.tool_calls.size()},
                   {"id", fmt::format("call_{}_{}", shape_.id.substr(shape_.id.find('-') + 1),
                                      calls_made_++)},
                   {"type", "function"},
                   {"function", {{"name", part.name}, {"arguments", part.text}}}};
      if (shape_.stream) delta["tool_calls"].push_back(call);
      call.erase("index");  // of streams alone
      choice.tool_calls.push_back(std::move(call));
    }
  }
}

void ApiAnswer::add_text(int index, std::string_view text, bool last) {
  Choice& choice = choices_[static_cast<std::size_t>(index)];
  if (!shape_.chat) {
    if (!shape_.stream) {
      choice.text += text;
    } else if (!text.empty() || (shape_.logprobs && !last)) {
      write_chunk(index, std::string(text), nullptr);
    }
    return;
  }
  Json delta = Json::object();
  if (!choice.begun && shape_.stream) {
    delta = {{"role", "assistant"}, {"content", ""}};
    choice.begun = true;
  }
  add_parts(index, choice.splitter.push(text), delta);
  if (last) add_parts(index, choice.splitter.finish(), delta);
  if (shape_.stream && (!delta.empty() || !choice.chat_logprobs.empty())) {
    write_chunk(index, std::move(delta), nullptr);
  }
}

void ApiAnswer::write_chunk(int index, Json delta_or_text, const std::string* finish_reason) {
  Choice& choice = choices_[static_cast<std::size_t>(index)];
  Json chunk = envelope("chat.completion.chunk", "text_completion");
  Json entry = {{"index", index},
                {shape_.chat ? "delta" : "text", std::move(delta_or_text)},
                {"logprobs", finish_reason == nullptr ? take_logprobs(choice) : Json()},
                {"finish_reason", finish_reason != nullptr ? Json(*finish_reason) : Json()}};
  chunk["choices"] = Json::array({std::move(entry)});
  if (shape_.include_usage) chunk["usage"] = nullptr;
  call_->write(sse_event(chunk));
}

void ApiAnswer::on_finish(int prompt, ChoiceReport report) {
  if (ended_) return;
  const int index = prompt * shape_.n + report.choice;
  Choice& choice = choices_[static_cast<std::size_t>(index)];
  usage_.generated += report.generated;
  // As in OpenAI's completions: what ended the text is in the lists, and not in the text. lm-eval
  // counts on one entry more than the prompt has.
  const bool with_stop = shape_.logprobs && !shape_.chat && report.stop_logprobs != nullptr;
  if (with_stop) choice.completion_logprobs.add(*report.stop_logprobs);
  add_text(index, report.text, !with_stop);
  choice.finish_reason = finish_reason_name(report.reason);
  if (report.reason == FinishReason::kStop && !choice.tool_calls.empty()) {
    choice.finish_reason = "tool_calls";
  }
  if (shape_.stream) {
    write_chunk(index, shape_.chat ? Json::object() : Json(""), &choice.finish_reason);
  }
}

Json ApiAnswer::whole_choice(std::size_t index) {
  Choice& choice = choices_[index];
  Json out = {{"index", index}};
  if (shape_.chat) {
    const bool silent = choice.text.empty() && !choice.tool_calls.empty();
    Json message = {{"role", "assistant"}, {"content", silent ? Json() : Json(choice.text)}};
    if (!choice.thinking.empty()) message["reasoning_content"] = choice.thinking;
    if (!choice.tool_calls.empty()) message["tool_calls"] = std::move(choice.tool_calls);
    out["message"] = std::move(message);
  } else {
    out["text"] = std::move(choice.text);
  }
  out["logprobs"] = take_logprobs(choice);
  out["finish_reason"] = choice.finish_reason;
  return out;
}

void ApiAnswer::on_all_finished() {
  if (ended_ || --prompts_left_ > 0) return;
  metrics_.observe_request(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count());
  if (shape_.stream) {
    if (shape_.include_usage) {
      Json chunk = envelope("chat.completion.chunk", "text_completion");
      chunk["choices"] = Json::array();
      chunk["usage"] = usage_json(usage_);
      call_->write(sse_event(chunk));
    }
    call_->write(kSseDone);
    call_->end_stream();
  } else {
    Json document = envelope("chat.completion", "text_completion");
    Json choices = Json::array();
    for (std::size_t i = 0; i < choices_.size(); ++i) choices.push_back(whole_choice(i));
    document["choices"] = std::move(choices);
    document["usage"] = usage_json(usage_);
    ServerReply reply;
    reply.headers = shape_.headers;
    reply.body = json_text(document);
    call_->respond(std::move(reply));
  }
  end(200);
}

int failure_status(GenerationFailure failure) {
  switch (failure) {
    case GenerationFailure::kCancelled:
      return 499;  // nginx's code for a client that went away; nobody reads it
    case GenerationFailure::kTimeout:
      return 504;
    case GenerationFailure::kStopping:
    case GenerationFailure::kMemory:
      return 503;
    case GenerationFailure::kInternal:
      return 500;
  }
  return 500;
}

void ApiAnswer::on_failure(GenerationFailure failure, const std::string& message) {
  if (ended_) return;
  if (ticket_) ticket_->cancel();  // the other prompts of the request
  const int status = failure_status(failure);
  if (failure == GenerationFailure::kCancelled) metrics_.count_cancelled();
  if (streaming_) {
    // A stream ends with an event in any case, so that its reader knows.
    call_->write(sse_event(error_json(status, message)));
    call_->write(kSseDone);
    call_->end_stream();
  } else {
    ServerReply reply;
    reply.status = status;
    reply.headers = shape_.headers;
    if (status == 503) reply.headers.emplace_back("Retry-After", "5");
    reply.body = json_text(error_json(status, message));
    call_->respond(std::move(reply));
  }
  end(status);
}

}  // namespace qx
