// SPDX-License-Identifier: Apache-2.0
#include "serve/api_json.h"

#include <fmt/format.h>

#include <cmath>

#include "serve/api_error.h"

namespace qx {
namespace {

// JSON has no infinity: a token that a constraint forbids. OpenAI's own floor.
double finite_logprob(double logprob) {
  return std::isfinite(logprob) ? logprob : -9999.0;
}

Json byte_list(const std::string& bytes) {
  Json out = Json::array();
  for (const char c : bytes) out.push_back(static_cast<unsigned char>(c));
  return out;
}

}  // namespace

std::string token_name(const Tokenizer& tokenizer, TokenId id) {
  std::string bytes = tokenizer.token_bytes(id);
  if (is_valid_utf8(bytes)) return bytes;
  std::string name = "bytes:";
  for (const char c : bytes) name += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return name;
}

Json chat_logprobs_entry(const Tokenizer& tokenizer, const StepLogprobs& step) {
  const auto entry = [&](TokenId id, double logprob) -> Json {
    return {{"token", token_name(tokenizer, id)},
            {"logprob", finite_logprob(logprob)},
            {"bytes", byte_list(tokenizer.token_bytes(id))}};
  };
  Json out = entry(step.id, step.logprob);
  Json top = Json::array();
  for (const auto& [id, logprob] : step.top) top.push_back(entry(id, logprob));
  out["top_logprobs"] = std::move(top);
  return out;
}

void CompletionLogprobs::add_token(TokenId id) {
  tokens_.push_back(token_name(tokenizer_, id));
  offsets_.push_back(offset_);
  for (const char c : tokenizer_.token_bytes(id)) {
    offset_ += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  }
}

void CompletionLogprobs::add_first(TokenId id) {
  add_token(id);
  logprobs_.push_back(nullptr);
  top_.push_back(nullptr);
}

void CompletionLogprobs::add(const StepLogprobs& step) {
  add_token(step.id);
  logprobs_.push_back(finite_logprob(step.logprob));
  Json top = Json::object();
  for (const auto& [id, logprob] : step.top) {
    // Of two tokens with one text the better one stays.
    std::string name = token_name(tokenizer_, id);
    if (!top.contains(name)) top[std::move(name)] = finite_logprob(logprob);
  }
  std::string own = token_name(tokenizer_, step.id);
  if (!step.top.empty() && !top.contains(own)) top[std::move(own)] = finite_logprob(step.logprob);
  top_.push_back(std::move(top));
}

Json CompletionLogprobs::take() {
  Json out = {{"tokens", std::move(tokens_)},
              {"token_logprobs", std::move(logprobs_)},
              {"top_logprobs", std::move(top_)},
              {"text_offset", std::move(offsets_)}};
  tokens_ = logprobs_ = top_ = offsets_ = Json::array();
  return out;
}

Json usage_json(const UsageCounts& usage) {
  return {{"prompt_tokens", usage.prompt},
          {"completion_tokens", usage.generated},
          {"total_tokens", usage.prompt + usage.generated},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached}}}};
}

std::string json_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string sse_event(const Json& value) {
  return "data: " + json_text(value) + "\n\n";
}

Json error_json(int status, std::string_view message, std::string_view param,
                std::string_view code) {
  const char* type = "invalid_request_error";
  if (status == 401 || status == 403) type = "authentication_error";
  if (status == 429) type = "rate_limit_error";
  if (status >= 500) type = "server_error";
  const auto text_or_null = [](std::string_view text) {
    return text.empty() ? Json() : Json(std::string(text));
  };
  return {{"error",
           {{"message", std::string(message)},
            {"type", type},
            {"param", text_or_null(param)},
            {"code", text_or_null(code)}}}};
}

}  // namespace qx
