// SPDX-License-Identifier: Apache-2.0
#include "chat/thinking_split.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace qx {
namespace {

const ThinkingMarkers kMarkers{"<think>", "</think>"};

// "(thought)answer" of a text that comes in pieces of `size` bytes.
std::string split(std::string_view text, std::size_t size, std::string_view prompt = "",
                  std::optional<ThinkingMarkers> markers = kMarkers) {
  ThinkingSplit splitter(std::move(markers), prompt);
  std::string thought, answer;
  const auto add = [&](const std::vector<AnswerPiece>& pieces) {
    for (const AnswerPiece& piece : pieces) {
      EXPECT_FALSE(piece.text.empty());
      EXPECT_TRUE(answer.empty() || !piece.thinking);
      (piece.thinking ? thought : answer) += piece.text;
    }
  };
  for (std::size_t at = 0; at < text.size(); at += size) add(splitter.push(text.substr(at, size)));
  add(splitter.finish());
  EXPECT_EQ(splitter.answer(), answer);
  EXPECT_TRUE(thought.starts_with(splitter.reasoning()));
  return "(" + splitter.reasoning() + ")" + answer;
}

TEST(ThinkingSplit, AnyCutGivesTheSame) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"Hello", "()Hello"},
      {"  Hello\n", "()  Hello\n"},
      {"<think>\nWhy?\n</think>\n\nSo.", "(Why?)So."},
      {"\n <think>a < b </thin k</think>c", "(a < b </thin k)c"},
      {"<think>\n\n</think>\n\nAt once.\n", "()At once.\n"},
      {"<think>cut off </thi", "(cut off </thi)"},
      {"<thin air", "()<thin air"},
      {"<think", "()<think"},
      {"The tag <think> is </think> text", "()The tag <think> is </think> text"},
      {"<think>a</think> b <think>c</think>", "(a)b <think>c</think>"},
      {"", "()"},
      {" \n", "() \n"},
  };
  for (const auto& [text, expected] : cases) {
    for (std::size_t size = 1; size <= text.size() + 1; ++size) {
      EXPECT_EQ(split(text, size), expected) << text << " in pieces of " << size;
    }
  }
}

TEST(ThinkingSplit, APromptMayOpenTheThinking) {
  EXPECT_EQ(split("Why?\n</think>\nSo.", 3, "<assistant><think>\n"), "(Why?)So.");
  EXPECT_EQ(split("So.", 3, "<assistant><think>\n\n</think>\n\n"), "()So.");
  EXPECT_EQ(split("<think>x</think>y", 3, "..", std::nullopt), "()<think>x</think>y");
}

TEST(ThinkingSplit, ShowsAllButWhatMayBecomeAMarker) {
  ThinkingSplit splitter(kMarkers, "");
  EXPECT_TRUE(splitter.push("<thi").empty());
  const auto first = splitter.push("nk> so </th");
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].text, "so ");
  EXPECT_TRUE(splitter.thinking());
  const auto second = splitter.push("en");
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].text, "</then");
}

}  // namespace
}  // namespace qx
