// SPDX-License-Identifier: Apache-2.0
#include "serve/answer_parts.h"

#include <gtest/gtest.h>

namespace qx {
namespace {

// Kinds and texts in one line: "t:.. h:.. c:name(arguments)", equal neighbours joined.
std::string summary(const std::vector<AnswerPart>& parts) {
  std::vector<AnswerPart> joined;
  for (const AnswerPart& part : parts) {
    if (!joined.empty() && part.kind != AnswerPart::Kind::kToolCall &&
        joined.back().kind == part.kind) {
      joined.back().text += part.text;
    } else {
      joined.push_back(part);
    }
  }
  std::string out;
  for (const AnswerPart& part : joined) {
    if (!out.empty()) out += '|';
    switch (part.kind) {
      case AnswerPart::Kind::kText:
        out += "t:" + part.text;
        break;
      case AnswerPart::Kind::kThinking:
        out += "h:" + part.text;
        break;
      case AnswerPart::Kind::kToolCall:
        out += "c:" + part.name + "(" + part.text + ")";
        break;
    }
  }
  return out;
}

std::string split(AnswerFormat format, std::string_view text, std::size_t piece) {
  AnswerSplitter splitter(format);
  std::vector<AnswerPart> all;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    for (AnswerPart& part : splitter.push(text.substr(at, piece))) all.push_back(std::move(part));
  }
  for (AnswerPart& part : splitter.finish()) all.push_back(std::move(part));
  return summary(all);
}

void expect_parts(AnswerFormat format, std::string_view text, const std::string& expected) {
  for (std::size_t piece = 1; piece <= text.size() + 1; ++piece) {
    ASSERT_EQ(split(format, text, piece), expected) << text << " by " << piece;
  }
}

constexpr AnswerFormat kAll{.thinking = true, .tool_calls = true};

TEST(AnswerSplitter, TextAlone) {
  expect_parts({}, "plain <think>x</think> <tool_call>{}",
               "t:plain <think>x</think> <tool_call>{}");
  expect_parts(kAll, "a < b <tool_ <think", "t:a < b <tool_ <think");
  expect_parts(kAll, "", "");
}

TEST(AnswerSplitter, ThinkingComesFirst) {
  expect_parts(kAll, "<think>\nhm < 3\n</think>\n\nyes", "h:hm < 3\n|t:yes");
  expect_parts(kAll, "\n<think>\n\n</think>\n\nyes", "t:yes");
  expect_parts(kAll, "no <think>x</think>", "t:no <think>x</think>");
  expect_parts(kAll, "<think>never ends </thin", "h:never ends </thin");
  expect_parts({.thinking = true, .begins_thinking = true}, "hm</think>\nyes", "h:hm|t:yes");
}

TEST(AnswerSplitter, ToolCalls) {
  expect_parts(
      kAll, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, \"</x>\"]}}\n</tool_call>",
      "c:f({\"a\": [1, \"</x>\"]})");
  expect_parts(
      kAll,
      "<think>t</think>\n\nLet me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n"
      "</tool_call>\n<tool_call>{\"name\": \"g\"}</tool_call>\n",
      "h:t|t:Let me see.\n|c:f({})|c:g({})");
  // The end may be missing: a stop token ended the text, or a constraint.
  expect_parts(kAll, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
               "c:f({\"a\": 1})");
}

TEST(AnswerSplitter, WhatIsNoCallStaysText) {
  expect_parts(kAll, "<tool_call>\n{\"name\": 5}\n</tool_call> x",
               "t:<tool_call>\n{\"name\": 5}\n</tool_call> x");
  expect_parts(kAll, "<tool_call>not JSON</tool_call>", "t:<tool_call>not JSON</tool_call>");
  expect_parts(kAll, "<tool_call>{\"name\": \"f\"", "t:<tool_call>{\"name\": \"f\"");
}

}  // namespace
}  // namespace qx
