// The JSON of OpenAI's answers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "generate/generate.h"
#include "io/json.h"
#include "text/tokenizer.h"

namespace qx {

// A token's own text; "bytes:\xe2\x80" for bytes that are no whole characters, as OpenAI writes it.
std::string token_name(const Tokenizer& tokenizer, TokenId id);

// {"token", "logprob", "bytes", "top_logprobs"}: an entry of chat's logprobs.content.
Json chat_logprobs_entry(const Tokenizer& tokenizer, const StepLogprobs& step);

// logprobs of a completion: tokens, token_logprobs, top_logprobs, text_offset, as lists that grow.
class CompletionLogprobs {
 public:
  explicit CompletionLogprobs(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  void add_first(TokenId id);  // of a text, which nothing predicts: null
  void add(const StepLogprobs& step);
  // What was added since the last call.
  Json take();

 private:
  void add_token(TokenId id);
  const Tokenizer& tokenizer_;
  std::int64_t offset_ = 0;  // in code points of the tokens' texts
  Json tokens_ = Json::array(), logprobs_ = Json::array(), top_ = Json::array(),
       offsets_ = Json::array();
};

struct UsageCounts {
  std::int64_t prompt = 0, cached = 0, generated = 0;
};
Json usage_json(const UsageCounts& usage);

// One line of text; ill-formed UTF-8 becomes U+FFFD.
std::string json_text(const Json& value);
// "data: ..\n\n": an event of a stream.
std::string sse_event(const Json& value);
constexpr const char* kSseDone = "data: [DONE]\n\n";

}  // namespace qx
