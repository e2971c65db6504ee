// SPDX-License-Identifier: Apache-2.0
#include "serve/api_request.h"

#include <charconv>
#include <set>
#include <utility>

#include "base/error.h"
#include "serve/api_fields.h"
#include "serve/api_messages.h"

namespace qx {
namespace {

constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;

Json parse_body(std::string_view body) {
  Json document;
  try {
    document = parse_json(body, "body");
  } catch (const Error& e) {
    throw ApiError(400, e.what());
  }
  if (!document.is_object()) {
    throw ApiError(400, fmt::format("body: got {}, expected a JSON object", document.type_name()));
  }
  return document;
}

// Members that would change the answer, and that nothing here heeds. Others are ignored: clients
// send many that do not matter (user, metadata, store, ..).
void refuse_unsupported(const ApiFields& fields) {
  static constexpr std::string_view kUnsupported[] = {"functions",
                                                      "function_call",
                                                      "audio",
                                                      "prediction",
                                                      "web_search_options",
                                                      "guided_json",
                                                      "guided_regex",
                                                      "guided_choice",
                                                      "guided_grammar",
                                                      "structural_tag",
                                                      "grammar",
                                                      "json_schema",
                                                      "prompt_embeds",
                                                      "use_beam_search",
                                                      "suffix",
                                                      "length_penalty",
                                                      "allowed_token_ids",
                                                      "bad_words",
                                                      "logits_processors",
                                                      "draft_model",
                                                      "adapters"};
  for (const std::string_view name : kUnsupported) {
    if (fields.has(name)) refuse_param(name, "is not supported");
  }
  if (const Json& modalities = fields.get("modalities"); !modalities.is_null()) {
    if (modalities != Json::array({"text"})) {
      refuse_param("modalities", "got {}, expected [\"text\"]", modalities.dump());
    }
  }
}

void read_sampling(const ApiFields& f, CommonRequest& r) {
  SamplerOptions& s = r.sampling;
  const auto take = [&](double& to, std::string_view name, double least, double most) {
    if (const auto value = f.number(name, least, most)) to = *value;
  };
  take(s.temperature, "temperature", 0, 100);
  take(s.top_p, "top_p", 0, 1);
  take(s.min_p, "min_p", 0, 1);
  // -1 is how vLLM's clients turn it off.
  if (const auto k = f.integer("top_k", -1, kMostTokens)) s.top_k = std::max<std::int64_t>(*k, 0);
  take(s.xtc_probability, "xtc_probability", 0, 1);
  take(s.xtc_threshold, "xtc_threshold", 0, 0.5);
  take(s.repetition_penalty, "repetition_penalty", 0, 100);
  take(s.presence_penalty, "presence_penalty", -100, 100);
  take(s.frequency_penalty, "frequency_penalty", -100, 100);
  const auto size = [&](std::int64_t& to, std::string_view name) {
    if (const auto value = f.integer(name, 0, kMostTokens)) to = *value;
  };
  size(s.repetition_context_size, "repetition_context_size");
  size(s.presence_context_size, "presence_context_size");
  size(s.frequency_context_size, "frequency_context_size");
  if (const auto seed = f.integer("seed", INT64_MIN, INT64_MAX)) {
    s.seed = static_cast<std::uint64_t>(*seed);
    r.has_seed = true;
  }
}

void read_logit_bias(const ApiFields& f, SamplerOptions& sampling) {
  const Json& bias = f.get("logit_bias");
  if (bias.is_null()) return;
  if (!bias.is_object()) {
    refuse_param("logit_bias", "got {}, expected an object of token ids and numbers",
                 bias.type_name());
  }
  sampling.logit_bias.clear();
  std::set<TokenId> seen;
  for (const auto& [key, value] : bias.items()) {
    TokenId id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc{} || end != key.data() + key.size() || id < 0) {
      refuse_param("logit_bias", "got the key '{}', expected a token id", key.substr(0, 40));
    }
    if (!value.is_number() || !(std::abs(value.get<double>()) <= 100)) {
      refuse_param("logit_bias", "got {}, expected a number from -100 to 100",
                   value.is_number() ? value.dump() : value.type_name());
    }
    // "7" and "07" are one token.
    if (!seen.insert(id).second) refuse_param("logit_bias", "got token {} twice", id);
    sampling.logit_bias.emplace_back(id, value.get<double>());
  }
}

void add_stop(const Json& value, std::vector<std::string>& stops) {
  if (!value.is_string()) {
    refuse_param("stop", "got {}, expected a string or a list of strings", value.type_name());
  }
  std::string text = value.get<std::string>();
  if (text.empty()) refuse_param("stop", "got an empty string, expected at least one character");
  if (text.size() > kLongestStop) {
    refuse_param("stop", "got {} bytes, expected at most {}", text.size(), kLongestStop);
  }
  if (stops.size() == kMostStops) refuse_param("stop", "expected at most {} strings", kMostStops);
  stops.push_back(std::move(text));
}

std::vector<TokenId> read_tokens(const Json& value, std::string_view name) {
  std::vector<TokenId> ids;
  ids.reserve(value.size());
  for (const Json& id : value) {
    ids.push_back(static_cast<TokenId>(ApiFields::whole_number(id, name, 0, INT32_MAX)));
  }
  return ids;
}

void read_stops(const ApiFields& f, CommonRequest& r) {
  const Json& stop = f.get("stop");
  if (stop.is_array()) {
    for (const Json& one : stop) add_stop(one, r.stop);
  } else if (!stop.is_null()) {
    add_stop(stop, r.stop);
  }
  const Json& ids = f.get("stop_token_ids");
  if (!ids.is_null()) {
    if (!ids.is_array() || ids.size() > 1024) {
      refuse_param("stop_token_ids", "expected a list of at most 1024 token ids");
    }
    r.stop_token_ids = read_tokens(ids, "stop_token_ids");
  }
  r.ignore_eos = f.boolean("ignore_eos", false);
}

void read_response_format(const ApiFields& f, CommonRequest& r) {
  const Json& format = f.get("response_format");
  if (format.is_null()) return;
  const Json& type = json_member(format, "type");
  if (!type.is_string()) {
    refuse_param("response_format", "expected an object with a type: text or json_schema");
  }
  const auto name = type.get<std::string>();
  if (name == "text") return;
  if (name == "json_object") {
    r.schema = {{"type", "object"}};
    return;
  }
  if (name != "json_schema") {
    refuse_param("response_format", "got the type '{}', expected text, json_schema or json_object",
                 name.substr(0, 40));
  }
  const Json& schema = json_member(json_member(format, "json_schema"), "schema");
  if (!schema.is_object() && !schema.is_boolean()) {
    refuse_param("response_format", "expected json_schema.schema, a JSON schema");
  }
  r.schema = schema;
}

void read_common(const ApiFields& f, CommonRequest& r) {
  refuse_unsupported(f);
  r.model = f.string("model").value_or("");
  r.n = static_cast<int>(f.integer("n", 1, kMostChoices).value_or(1));
  if (const auto best = f.integer("best_of", 1, kMostChoices); best && *best != r.n) {
    refuse_param("best_of", "got {}, expected n ({})", *best, r.n);
  }
  read_sampling(f, r);
  read_logit_bias(f, r.sampling);
  read_stops(f, r);
  r.stream = f.boolean("stream", false);
  const Json& options = f.get("stream_options");
  if (!options.is_null()) {
    if (!options.is_object()) refuse_param("stream_options", "expected an object");
    r.include_usage = ApiFields(options).boolean("include_usage", false);
  }
  read_response_format(f, r);
}

void read_template_options(const ApiFields& f, ChatRequest& r) {
  r.messages = template_messages(f.get("messages"));
  r.tools = template_tools(f.get("tools"));
  const Json& variables = f.get("chat_template_kwargs");
  if (!variables.is_null()) {
    if (!variables.is_object()) refuse_param("chat_template_kwargs", "expected an object");
    r.template_variables = variables;
  }
  r.continue_final_message = f.boolean("continue_final_message", false);
  r.add_generation_prompt = f.boolean("add_generation_prompt", !r.continue_final_message);
  if (r.continue_final_message && r.add_generation_prompt) {
    refuse_param("continue_final_message", "got add_generation_prompt too, expected one of them");
  }
}

bool has_tool(const Json& tools, const std::string& name) {
  for (const Json& tool : tools) {
    if (json_member(json_member(tool, "function"), "name") == name) return true;
  }
  return false;
}

void read_tool_choice(const ApiFields& f, ChatRequest& r) {
  using Choice = ChatRequest::ToolChoice;
  if (r.tools.is_null()) r.tool_choice = Choice::kNone;
  const Json& choice = f.get("tool_choice");
  if (choice.is_null()) return;
  if (choice == "none") {
    r.tool_choice = Choice::kNone;
    return;
  }
  if (choice == "auto") return;
  if (choice == "required") {
    r.tool_choice = Choice::kRequired;
  } else if (const Json& name = json_member(json_member(choice, "function"), "name");
             name.is_string()) {
    r.tool_choice = Choice::kRequired;
    r.tool_name = name.get<std::string>();
  } else {
    refuse_param("tool_choice",
                 "expected none, auto, required or {{\"type\": \"function\", \"function\": "
                 "{{\"name\": ..}}}}");
  }
  if (r.tools.is_null() || (!r.tool_name.empty() && !has_tool(r.tools, r.tool_name))) {
    refuse_param("tool_choice", "got a function that is not among the tools");
  }
}

}  // namespace

ChatRequest parse_chat_request(std::string_view body, const SamplerOptions& defaults) {
  const Json document = parse_body(body);
  const ApiFields f(document);
  ChatRequest r;
  r.sampling = defaults;
  read_common(f, r);
  read_template_options(f, r);
  read_tool_choice(f, r);
  if (!r.schema.is_null() && r.tool_choice == ChatRequest::ToolChoice::kRequired) {
    refuse_param("response_format", "got a required tool call too, expected one of them");
  }
  r.max_tokens = f.integer("max_completion_tokens", 1, kMostTokens);
  if (!r.max_tokens) r.max_tokens = f.integer("max_tokens", 1, kMostTokens);
  r.logprobs = f.boolean("logprobs", false);
  const auto top = f.integer("top_logprobs", 0, kMostTopLogprobs);
  if (top && !r.logprobs) refuse_param("top_logprobs", "needs logprobs: true");
  r.top_logprobs = static_cast<int>(top.value_or(0));
  return r;
}

CompletionRequest parse_completion_request(std::string_view body, const SamplerOptions& defaults) {
  const Json document = parse_body(body);
  const ApiFields f(document);
  CompletionRequest r;
  r.sampling = defaults;
  read_common(f, r);
  r.echo = f.boolean("echo", false);
  r.max_tokens = f.integer("max_tokens", 0, kMostTokens);
  if (const auto top = f.integer("logprobs", 0, kMostTopLogprobs)) {
    r.logprobs = true;
    r.top_logprobs = static_cast<int>(*top);
  }
  const Json& prompt = f.get("prompt");
  const auto add = [&](const Json& one) {
    if (one.is_string()) {
      r.prompts.emplace_back(one.get<std::string>());
    } else if (one.is_array()) {
      r.prompts.emplace_back(read_tokens(one, "prompt"));
    } else {
      refuse_param("prompt", "got {}, expected a text or a list of token ids", one.type_name());
    }
  };
  const bool many = prompt.is_array() && !prompt.empty() && !prompt.front().is_number();
  if (many) {
    if (prompt.size() > static_cast<std::size_t>(kMostChoices / r.n)) {
      refuse_param("prompt", "got {} prompts of {} texts each, expected at most {} texts",
                   prompt.size(), r.n, kMostChoices);
    }
    for (const Json& one : prompt) add(one);
  } else {
    add(prompt);
  }
  return r;
}

ChatRequest parse_template_request(std::string_view body) {
  const Json document = parse_body(body);
  const ApiFields f(document);
  ChatRequest r;
  r.model = f.string("model").value_or("");
  read_template_options(f, r);
  return r;
}

TokenizeRequest parse_tokenize_request(std::string_view body) {
  const Json document = parse_body(body);
  const ApiFields f(document);
  TokenizeRequest r;
  r.model = f.string("model").value_or("");
  r.text = f.string("content");              // llama.cpp's name
  if (!r.text) r.text = f.string("prompt");  // vLLM's
  // A chat's template writes the special tokens itself.
  r.add_special = f.boolean("add_special", f.boolean("add_special_tokens", false));
  if (r.text.has_value() == f.has("messages")) {
    throw ApiError(400, "expected a text in content (or prompt), or a chat in messages");
  }
  if (!r.text) {
    r.chat.emplace();
    read_template_options(f, *r.chat);
  }
  return r;
}

DetokenizeRequest parse_detokenize_request(std::string_view body) {
  const Json document = parse_body(body);
  const ApiFields f(document);
  DetokenizeRequest r;
  r.model = f.string("model").value_or("");
  const Json& tokens = f.get("tokens");
  if (!tokens.is_array()) refuse_param("tokens", "expected a list of token ids");
  r.tokens = read_tokens(tokens, "tokens");
  return r;
}

}  // namespace qx
