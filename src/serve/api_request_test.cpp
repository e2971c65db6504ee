// SPDX-License-Identifier: Apache-2.0
#include "serve/api_request.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "serve/api_keys.h"

namespace qx {
namespace {

// The member that a refusal is about; "-" when nothing is refused.
std::string refused_param(const auto& parse) {
  try {
    parse();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 400);
    EXPECT_FALSE(std::string(e.what()).empty());
    return e.param;
  }
  return "-";
}

std::string chat_with(const std::string& members) {
  return R"({"messages": [{"role": "user", "content": "hi"}])" +
         (members.empty() ? "" : ", " + members) + "}";
}

ChatRequest chat(const std::string& members) {
  return parse_chat_request(chat_with(members), {.temperature = 1});
}

TEST(ApiRequest, ChatMembersAreRead) {
  const ChatRequest r = chat(R"("model": "m", "temperature": 0.5, "top_p": 0.9, "top_k": 5,
    "min_p": 0.1, "seed": -3, "n": 2, "stop": ["a", "b"], "max_tokens": 7, "stream": true,
    "stream_options": {"include_usage": true}, "logprobs": true, "top_logprobs": 4,
    "logit_bias": {"5": -100, "6": 1.5}, "presence_penalty": 1, "frequency_penalty": -1,
    "repetition_penalty": 1.1, "xtc_probability": 0.5, "xtc_threshold": 0.2,
    "chat_template_kwargs": {"enable_thinking": false}, "user": "x", "store": false)");
  EXPECT_EQ(r.model, "m");
  EXPECT_EQ(r.sampling.temperature, 0.5);
  EXPECT_EQ(r.sampling.top_p, 0.9);
  EXPECT_EQ(r.sampling.top_k, 5);
  EXPECT_EQ(r.sampling.min_p, 0.1);
  EXPECT_EQ(r.sampling.seed, static_cast<std::uint64_t>(-3));
  EXPECT_TRUE(r.has_seed);
  EXPECT_EQ(r.n, 2);
  EXPECT_EQ(r.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(r.max_tokens, 7);
  EXPECT_TRUE(r.stream && r.include_usage && r.logprobs);
  EXPECT_EQ(r.top_logprobs, 4);
  EXPECT_EQ(r.sampling.logit_bias, (std::vector<std::pair<TokenId, double>>{{5, -100}, {6, 1.5}}));
  EXPECT_EQ(r.sampling.presence_penalty, 1);
  EXPECT_EQ(r.sampling.frequency_penalty, -1);
  EXPECT_EQ(r.sampling.repetition_penalty, 1.1);
  EXPECT_EQ(r.template_variables, (Json{{"enable_thinking", false}}));
  // Null and absent are one.
  EXPECT_EQ(chat(R"("temperature": null, "stop": null, "tools": null)").sampling.temperature, 1);
}

TEST(ApiRequest, ChatMembersOutOfRangeAreRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {"temperature", "-1"},
      {"temperature", "\"1\""},
      {"temperature", "1e400"},
      {"top_p", "1.5"},
      {"top_k", "-2"},
      {"top_k", "1.5"},
      {"n", "0"},
      {"n", "129"},
      {"n", "18446744073709551615"},
      {"seed", "1.5"},
      {"seed", "18446744073709551615"},
      {"stop", "5"},
      {"stop", "[\"\"]"},
      {"stop", "[[]]"},
      {"stream", "\"yes\""},
      {"stream_options", "3"},
      {"max_tokens", "0"},
      {"max_tokens", "\"7\""},
      {"top_logprobs", "3"},
      {"logprobs", "3"},
      {"logit_bias", "[]"},
      {"logit_bias", "{\"a\": 1}"},
      {"logit_bias", "{\"1\": 101}"},
      {"logit_bias", "{\"1\": 1, \"01\": 1}"},
      {"logit_bias", "{\"-1\": 1}"},
      {"response_format", "\"json\""},
      {"response_format", "{\"type\": \"xml\"}"},
      {"response_format", "{\"type\": \"json_schema\"}"},
      {"functions", "[]"},
      {"modalities", "[\"audio\"]"},
      {"tools", "{}"},
      {"tools", "[{\"type\": \"function\"}]"},
      {"tool_choice", "\"required\""},
      {"tool_choice", "7"},
      {"chat_template_kwargs", "[]"},
      {"model", "7"},
      {"stop_token_ids", "[\"a\"]"},
      {"best_of", "3"},
      {"xtc_threshold", "0.7"},
      {"continue_final_message", "1"}};
  for (const auto& [name, value] : cases) {
    const std::string members = "\"" + std::string(name) + "\": " + value;
    const std::string param = refused_param([&] { chat(members); });
    // What JSON itself refuses has no member.
    EXPECT_TRUE(param == name || std::string(value) == "1e400") << members << " gave " << param;
    EXPECT_NE(param, "-") << members;
  }
}

TEST(ApiRequest, WhatIsNoObjectIsRefused) {
  for (const char* body :
       {"", "[]", "7", "{", "{\"messages\": []}", "{}", "\xff", "{\"messages\": {}}",
        "{\"messages\": [7]}", "{\"messages\": [{\"role\": \"king\", \"content\": \"x\"}]}",
        "{\"messages\": [{\"role\": \"user\"}]}",
        "{\"messages\": [{\"role\": \"user\", \"content\": 7}]}"}) {
    EXPECT_NE(refused_param([&] { parse_chat_request(body, {}); }), "-") << body;
    EXPECT_NE(refused_param([&] { parse_completion_request(body, {}); }), "-") << body;
  }
}

TEST(ApiRequest, MessagesBecomeWhatTemplatesTake) {
  const ChatRequest r = parse_chat_request(R"({"messages": [
    {"role": "developer", "content": "d"},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
      "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "r"}]})",
                                           {});
  EXPECT_EQ(r.messages[0], (Json{{"role", "system"}, {"content", "d"}}));
  EXPECT_EQ(r.messages[1]["content"], "ab");
  EXPECT_EQ(r.messages[2]["tool_calls"][0]["function"]["arguments"], (Json{{"x", 1}}));
  EXPECT_EQ(r.messages[2]["content"], "");
  EXPECT_EQ(r.messages[3]["tool_call_id"], "1");
  EXPECT_EQ(refused_param([] {
              parse_chat_request(R"({"messages": [{"role": "user", "content":
                [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]})",
                                 {});
            }),
            "messages");
}

TEST(ApiRequest, ToolChoice) {
  const std::string tools =
      R"("tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}])";
  using Choice = ChatRequest::ToolChoice;
  EXPECT_EQ(chat("").tool_choice, Choice::kNone);
  EXPECT_EQ(chat(tools).tool_choice, Choice::kAuto);
  EXPECT_EQ(chat(tools + R"(, "tool_choice": "none")").tool_choice, Choice::kNone);
  EXPECT_EQ(chat(tools + R"(, "tool_choice": "required")").tool_choice, Choice::kRequired);
  const std::string named = R"(, "tool_choice": {"type": "function", "function": {"name": ")";
  EXPECT_EQ(chat(tools + named + "f\"}}").tool_name, "f");
  EXPECT_EQ(refused_param([&] { chat(tools + named + "g\"}}"); }), "tool_choice");
}

TEST(ApiRequest, PromptsOfCompletions) {
  const auto parse = [](const std::string& prompt) {
    return parse_completion_request("{\"prompt\": " + prompt + "}", {}).prompts;
  };
  EXPECT_EQ(std::get<std::string>(parse("\"a\"").at(0)), "a");
  EXPECT_EQ(std::get<std::vector<TokenId>>(parse("[1, 2]").at(0)), (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(parse("[\"a\", \"b\"]").size(), 2u);
  EXPECT_EQ(parse("[[1], [2, 3]]").size(), 2u);
  for (const char* bad :
       {"null", "7", "[1, \"a\"]", "[[\"a\"]]", "[-1]", "[4294967296]", "[1.5]"}) {
    EXPECT_EQ(refused_param([&] { parse(bad); }), "prompt") << bad;
  }
  std::string many = "[\"a\"";
  for (int i = 0; i < kMostChoices; ++i) many += ", \"a\"";
  EXPECT_EQ(refused_param([&] { parse(many + "]"); }), "prompt");
}

TEST(ApiKeys, OnlyWholeKeysAreAccepted) {
  const ApiKeys keys = ApiKeys::parse("# ours\nkey-number-one\r\n\n  key-number-two \n", "keys");
  EXPECT_TRUE(keys.accepts("Bearer key-number-one"));
  EXPECT_TRUE(keys.accepts("bearer  key-number-two"));
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer key-number", "Bearer key-number-one1",
                            "Basic key-number-one", "key-number-one", "Bearer # ours"}) {
    EXPECT_FALSE(keys.accepts(wrong)) << wrong;
  }
  EXPECT_TRUE(ApiKeys().accepts(""));
  EXPECT_THROW(ApiKeys::parse("", "keys"), Error);
  EXPECT_THROW(ApiKeys::parse("short\n", "keys"), Error);
  EXPECT_THROW(ApiKeys::parse("with a space\n", "keys"), Error);
}

}  // namespace
}  // namespace qx
