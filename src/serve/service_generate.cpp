// The routes of the server that make text, and those around tokens.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <random>

#include "base/error.h"
#include "serve/api_answer.h"
#include "serve/service_flight.h"
#include "serve/text_constraint.h"

namespace qx {
namespace {

std::uint64_t random_number() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

std::string random_id(std::string_view kind) {
  return fmt::format("{}-{:016x}{:08x}", kind, random_number(), random_number() & 0xFFFFFFFF);
}

// What every answer has of its request. kind: "chatcmpl", "cmpl".
AnswerShape answer_shape(std::string_view kind, const ServedModel& model,
                         const CommonRequest& request) {
  AnswerShape shape;
  shape.id = random_id(kind);
  shape.model = model.name;
  shape.created = static_cast<std::int64_t>(std::time(nullptr));
  shape.n = request.n;
  shape.stream = request.stream;
  shape.include_usage = request.include_usage;
  shape.logprobs = request.logprobs;
  return shape;
}

bool opens_thinking(std::string_view prompt) {
  const std::size_t end = prompt.find_last_not_of(" \t\r\n");
  return end != std::string_view::npos && prompt.substr(0, end + 1).ends_with("<think>");
}

// A task that cannot be run: the place of the error is the member of the request that is at fault.
[[noreturn]] void throw_refused(const Error& error) {
  const std::string_view what = error.what();
  const std::size_t end = what.find(']');
  const bool placed = what.starts_with('[') && end != std::string_view::npos;
  throw ApiError(400, std::string(what), placed ? std::string(what.substr(1, end - 1)) : "");
}

// Texts that no context holds are refused before minutes go into their tokens.
std::vector<TokenId> encode_prompt(const ServedModel& model, const std::string& text,
                                   SpecialTokens special) {
  if (text.size() > model.longest_text()) {
    throw ApiError(400,
                   fmt::format("prompt: got {} bytes, which are more than the context of {} tokens",
                               text.size(), model.engine->limits().context),
                   "prompt", "context_length_exceeded");
  }
  return model.tokenizer.encode(text, special);
}

}  // namespace

std::string ServeService::render(const ServedModel& model, const ChatRequest& request) const {
  if (!model.chat) {
    throw ApiError(
        400,
        fmt::format("model: {} has no chat template; /v1/completions takes a text", model.name),
        "model");
  }
  ChatOptions options;
  options.add_generation_prompt = request.add_generation_prompt;
  options.continue_final_message = request.continue_final_message;
  if (request.tool_choice != ChatRequest::ToolChoice::kNone) options.tools = request.tools;
  if (!options.tools.is_null() && model.chat->source().find("tools") == std::string::npos) {
    throw ApiError(400, fmt::format("tools: {}'s chat template knows no tools", model.name),
                   "tools");
  }
  options.variables = request.template_variables;
  if (!options.variables.contains("enable_thinking")) {
    options.variables["enable_thinking"] = has_thinking_tokens(model.tokenizer);
  }
  return model.chat->render(request.messages, options);
}

GenerationTask ServeService::common_task(const Flight& flight, const ServedModel& model,
                                         const CommonRequest& request) const {
  GenerationTask task;
  task.choices = request.n;
  task.sampling = request.sampling;
  if (!request.has_seed) task.sampling.seed = random_number();
  // As much as the vocabulary holds is all of it.
  if (task.sampling.top_k >= model.model->config().vocab_size) task.sampling.top_k = 0;
  task.sampling.xtc_special_tokens = model.xtc_exempt;
  task.stop = request.stop;
  task.stop_tokens = request.stop_token_ids;
  if (!request.ignore_eos) {
    task.stop_tokens.insert(task.stop_tokens.end(), model.stop_tokens.begin(),
                            model.stop_tokens.end());
  }
  task.logprobs = request.logprobs;
  task.top_logprobs = request.top_logprobs;
  task.deadline = flight.deadline();
  try {
    check_sampler_options(task.sampling, model.model->config().vocab_size);
  } catch (const Error& e) {
    throw_refused(e);
  }
  return task;
}

void ServeService::set_length(GenerationTask& task, const ServedModel& model,
                              std::optional<std::int64_t> asked, std::int64_t otherwise) const {
  const std::int64_t context = model.engine->limits().context;
  const auto size = static_cast<std::int64_t>(task.prompt.size());
  const std::int64_t wanted = asked.value_or(otherwise);
  if (size == 0) throw ApiError(400, "prompt: got no tokens, expected at least one", "prompt");
  if (size > context || (size == context && wanted > 0)) {
    throw ApiError(
        400,
        fmt::format("prompt: got {} tokens, expected less than {} (the context)", size, context),
        "prompt", "context_length_exceeded");
  }
  task.max_tokens = std::min(wanted, context - size);
}

void ServeService::submit(const Flight& flight, ServedModel& model,
                          std::vector<GenerationTask> tasks, AnswerShape shape) {
  const auto ticket = flight.ticket;
  const auto owner = flight.lock();
  const auto answer = std::make_shared<ApiAnswer>(std::move(shape), static_cast<int>(tasks.size()),
                                                  model.tokenizer, flight.call, ticket, metrics_,
                                                  [owner](int status) { owner->ended(status); });
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    tasks[i].ticket = ticket;
    tasks[i].sink = answer->sink(static_cast<int>(i));
  }
  ServeEngine* const engine = model.engine.get();
  // The server's thread ends before the engines do.
  flight.call->on_gone([ticket, engine] {
    ticket->cancel();
    engine->wake();
  });
  ServeEngine::Submitted submitted{};
  try {
    submitted = engine->submit(std::move(tasks));
  } catch (const Error& e) {
    answer->withdraw();
    throw_refused(e);
  } catch (...) {
    answer->withdraw();
    throw;
  }
  switch (submitted) {
    case ServeEngine::Submitted::kAccepted:
      return;
    case ServeEngine::Submitted::kFull:
      answer->withdraw();
      throw ApiError(429, "too many requests are waiting");
    case ServeEngine::Submitted::kStopping:
      answer->withdraw();
      throw ApiError(503, "the server is shutting down");
  }
}

void ServeService::post_chat(const Flight& flight) {
  const ChatRequest request = parse_chat_request(flight.call->request().body, options_.sampling);
  ServedModel& model = find_model(request.model);
  flight.check();
  std::string prompt = render(model, request);
  flight.check();
  AnswerShape shape = answer_shape("chatcmpl", model, request);
  shape.headers = cors_headers(flight.call->request());
  shape.format.thinking = model.thinks && !request.continue_final_message;
  shape.format.begins_thinking = opens_thinking(prompt);
  shape.format.tool_calls =
      !request.tools.is_null() && request.tool_choice != ChatRequest::ToolChoice::kNone;
  Json schema = request.schema;
  if (request.tool_choice == ChatRequest::ToolChoice::kRequired) {
    schema = tool_call_schema(request.tools, request.tool_name);
    shape.opening = "<tool_call>\n";
  }
  // What has to be JSON cannot begin with thinking.
  if (!schema.is_null() && shape.format.begins_thinking) {
    prompt += "\n</think>\n\n";
    shape.format.begins_thinking = false;
  }
  prompt += shape.opening;

  GenerationTask task = common_task(flight, model, request);
  task.prompt = encode_prompt(model, prompt, SpecialTokens::kNone);
  set_length(task, model, request.max_tokens, options_.chat_tokens);
  flight.check();
  const auto grammar = compile_constraint(schema);
  flight.check();
  task.constraints = make_constraints(model, grammar.get(), request.n, task.stop_tokens);

  std::vector<GenerationTask> tasks;
  tasks.push_back(std::move(task));
  submit(flight, model, std::move(tasks), std::move(shape));
}

void ServeService::post_completion(const Flight& flight) {
  const CompletionRequest request =
      parse_completion_request(flight.call->request().body, options_.sampling);
  ServedModel& model = find_model(request.model);
  AnswerShape shape = answer_shape("cmpl", model, request);
  shape.chat = false;
  shape.headers = cors_headers(flight.call->request());
  flight.check();
  const auto grammar = compile_constraint(request.schema);
  std::vector<GenerationTask> tasks;
  for (const auto& prompt : request.prompts) {
    flight.check();
    GenerationTask task = common_task(flight, model, request);
    const auto* const text = std::get_if<std::string>(&prompt);
    if (text != nullptr) {
      const std::string bos = model.tokenizer.bos_token();
      const bool has_bos = !bos.empty() && text->starts_with(bos);
      task.prompt =
          encode_prompt(model, *text, has_bos ? SpecialTokens::kNone : SpecialTokens::kAdd);
    } else {
      task.prompt = std::get<std::vector<TokenId>>(prompt);
    }
    set_length(task, model, request.max_tokens, options_.completion_tokens);
    task.prompt_logprobs = request.echo && request.logprobs;
    task.constraints = make_constraints(model, grammar.get(), request.n, task.stop_tokens);
    if (request.echo) {
      shape.echo.push_back(task.prompt);
      shape.echo_texts.push_back(
          text != nullptr ? *text : model.tokenizer.decode(task.prompt, DecodeSpecial::kKeep));
    }
    tasks.push_back(std::move(task));
  }
  if (tasks.empty()) throw ApiError(400, "prompt: got none, expected at least one", "prompt");
  submit(flight, model, std::move(tasks), std::move(shape));
}

void ServeService::post_tokenize(const Flight& flight) {
  const TokenizeRequest request = parse_tokenize_request(flight.call->request().body);
  ServedModel& model = find_model(request.model);
  flight.check();
  const std::string text = request.text ? *request.text : render(model, *request.chat);
  flight.check();
  const std::vector<TokenId> ids =
      encode_prompt(model, text, request.add_special ? SpecialTokens::kAdd : SpecialTokens::kNone);
  reply_json(
      flight,
      {{"tokens", ids}, {"count", ids.size()}, {"max_model_len", model.engine->limits().context}});
}

void ServeService::post_detokenize(const Flight& flight) {
  const DetokenizeRequest request = parse_detokenize_request(flight.call->request().body);
  ServedModel& model = find_model(request.model);
  const std::string text = model.tokenizer.decode(request.tokens, DecodeSpecial::kKeep);
  reply_json(flight, {{"content", text}, {"prompt", text}});
}

void ServeService::post_template(const Flight& flight) {
  const ChatRequest request = parse_template_request(flight.call->request().body);
  reply_json(flight, {{"prompt", render(find_model(request.model), request)}});
}

}  // namespace qx
