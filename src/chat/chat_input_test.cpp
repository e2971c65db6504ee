// SPDX-License-Identifier: Apache-2.0
#include "chat/chat_input.h"

#include <gtest/gtest.h>

#include <vector>

namespace qx {
namespace {

std::vector<std::string> messages(const std::vector<std::string>& typed) {
  MessageLines lines;
  std::vector<std::string> out;
  for (const std::string& line : typed) {
    if (auto message = lines.add(line)) {
      EXPECT_FALSE(lines.inside());
      out.push_back(message->text);
    } else {
      EXPECT_TRUE(lines.inside());
    }
  }
  if (auto message = lines.finish()) out.push_back("rest: " + message->text);
  return out;
}

TEST(MessageLines, LinesAndBlocks) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(messages({"a", "", "b"}), (Texts{"a", "", "b"}));
  EXPECT_EQ(messages({"a\\", "b\\", "", "c"}), (Texts{"a\nb\n", "c"}));
  EXPECT_EQ(messages({"\"\"\"", "a", "", " b\\", "\"\"\"", "c"}), (Texts{"a\n\n b\\", "c"}));
  EXPECT_EQ(messages({"\"\"\"a", "b\"\"\""}), (Texts{"a\nb"}));
  EXPECT_EQ(messages({"\"\"\"a\"\"\""}), (Texts{"a"}));
  EXPECT_EQ(messages({"\"\"\"\"\"\""}), (Texts{""}));
  EXPECT_EQ(messages({"say \"\"\"x\"\"\""}), (Texts{"say \"\"\"x\"\"\""}));
  EXPECT_EQ(messages({"a\nb"}), (Texts{"a\nb"}));
  EXPECT_EQ(messages({"\"\"\"", "a"}), (Texts{"rest: a"}));
  EXPECT_EQ(messages({"a\\"}), (Texts{"rest: a"}));
}

TEST(MessageLines, ClearForgetsWhatWasBegun) {
  MessageLines lines;
  EXPECT_FALSE(lines.add("\"\"\"a"));
  lines.clear();
  EXPECT_FALSE(lines.inside());
  EXPECT_EQ(lines.add("b")->text, "b");
}

// A slash begins a command in a line of its own alone.
TEST(MessageLines, KnowWhatWasTypedAtOnce) {
  MessageLines lines;
  EXPECT_TRUE(lines.add("/help")->typed_at_once);
  lines.add("\"\"\"");
  lines.add("/help");
  EXPECT_FALSE(lines.add("\"\"\"")->typed_at_once);
  EXPECT_FALSE(lines.add("\"\"\"/help\"\"\"")->typed_at_once);
  lines.add("/help\\");
  EXPECT_FALSE(lines.add("x")->typed_at_once);
  lines.add("/help\\");
  EXPECT_FALSE(lines.finish()->typed_at_once);
  EXPECT_TRUE(lines.add("/help")->typed_at_once);
}

TEST(ParseChatInput, Commands) {
  const auto parsed = [](const std::string& text, bool at_once = true) {
    return parse_chat_input({text, at_once});
  };
  EXPECT_EQ(parsed("hello").command, ChatCommand::kNone);
  EXPECT_EQ(parsed("hello /save").argument, "hello /save");
  EXPECT_EQ(parsed("/save  my file.json ").command, ChatCommand::kSave);
  EXPECT_EQ(parsed("/save  my file.json ").argument, "my file.json");
  EXPECT_EQ(parsed("/reset").command, ChatCommand::kReset);
  EXPECT_EQ(parsed("/exit").command, ChatCommand::kQuit);
  EXPECT_EQ(parsed("/temp 0.5").command, ChatCommand::kTemperature);
  EXPECT_EQ(parsed("/temperature").command, ChatCommand::kUnknown);
  EXPECT_EQ(parsed("/temperature").argument, "temperature");
  EXPECT_EQ(parsed("/").command, ChatCommand::kUnknown);
  EXPECT_EQ(parsed("//save").command, ChatCommand::kNone);
  EXPECT_EQ(parsed("//save").argument, "/save");
  EXPECT_EQ(parsed("/save\nx", false).command, ChatCommand::kNone);
  EXPECT_EQ(parsed("/system a\nb").argument, "a\nb");  // pasted
}

TEST(ParseChatInput, HelpNamesEveryCommand) {
  for (const char* name :
       {"/system", "/reset", "/save", "/load", "/model", "/temp", "/help", "/quit"}) {
    EXPECT_NE(chat_help().find(name), std::string_view::npos) << name;
  }
}

}  // namespace
}  // namespace qx
