// The bodies of requests to the server, read and checked: OpenAI's chat completions and completions
// with what vLLM and mlx-lm's server add to them (docs/server.md lists every member). Knows neither
// models nor sockets.
// Source of the shapes: OpenAI's API reference and openapi.yaml (github.com/openai/openai-openapi).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "generate/sampler.h"
#include "io/json.h"
#include "serve/api_error.h"

namespace qx {

constexpr int kMostChoices = 128;     // texts of one request: prompts times n
constexpr int kMostTopLogprobs = 20;  // OpenAI's limit
constexpr std::size_t kMostStops = 16;
constexpr std::size_t kLongestStop = 4096;
constexpr std::size_t kMostMessages = 4096;
constexpr std::size_t kMostTools = 512;

// What chat completions and completions have in common.
struct CommonRequest {
  std::string model;  // "" when not said
  std::optional<std::int64_t> max_tokens;
  int n = 1;
  // Members that the request does not have are those of the server's defaults. Its seed counts when
  // has_seed is set.
  SamplerOptions sampling;
  bool has_seed = false;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool stream = false, include_usage = false;
  bool logprobs = false;
  int top_logprobs = 0;
  Json schema;  // of response_format json_schema or json_object; null: any text
};

struct ChatRequest : CommonRequest {
  // As a template takes them: content as one string, arguments of tool calls as objects.
  Json messages;
  Json tools;  // null or an array
  enum class ToolChoice { kNone, kAuto, kRequired };
  ToolChoice tool_choice = ToolChoice::kAuto;
  std::string tool_name;                     // with kRequired: the one function, or "" for any
  Json template_variables = Json::object();  // chat_template_kwargs
  bool continue_final_message = false, add_generation_prompt = true;
};

struct CompletionRequest : CommonRequest {
  std::vector<std::variant<std::string, std::vector<TokenId>>> prompts;
  bool echo = false;
};

// defaults: of the members that a request leaves out.
// Fails: ApiError (400) for text that is no JSON object, members of a wrong type or out of range,
// and members that would change the answer but are not supported. Never anything else, for any text.
ChatRequest parse_chat_request(std::string_view body, const SamplerOptions& defaults);
CompletionRequest parse_completion_request(std::string_view body, const SamplerOptions& defaults);

// The messages and tools of a chat request alone, for /apply-template and /tokenize.
ChatRequest parse_template_request(std::string_view body);

struct TokenizeRequest {
  std::optional<std::string> text;  // or messages
  std::optional<ChatRequest> chat;
  bool add_special = false;
  std::string model;
};
TokenizeRequest parse_tokenize_request(std::string_view body);

struct DetokenizeRequest {
  std::vector<TokenId> tokens;
  std::string model;
};
DetokenizeRequest parse_detokenize_request(std::string_view body);

}  // namespace qx
