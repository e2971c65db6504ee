// SPDX-License-Identifier: Apache-2.0
#include "chat/conversation.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/test_folder.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

const Conversation kConversation{"Be brief.", {{"Hi", "Hello", "greet"}, {"Bye", "See you", ""}}};

TEST(Conversation, MessagesForATemplate) {
  EXPECT_EQ(kConversation.messages(0, std::nullopt).dump(),
            R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},)"
            R"({"role":"assistant","content":"Hello","reasoning_content":"greet"},)"
            R"({"role":"user","content":"Bye"},{"role":"assistant","content":"See you"}])");
  EXPECT_EQ(kConversation.messages(1, "More").dump(),
            R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Bye"},)"
            R"({"role":"assistant","content":"See you"},{"role":"user","content":"More"}])");
  EXPECT_EQ(Conversation{}.messages(0, "x").dump(), R"([{"role":"user","content":"x"}])");
}

TEST(Conversation, SavedAndLoaded) {
  const TestFolder folder;
  const fs::path path = folder / "a.json";
  save_conversation(kConversation, "models/x", path);
  const Conversation loaded = load_conversation(path);
  EXPECT_EQ(conversation_json(loaded, "m"), conversation_json(kConversation, "m"));
  // Again, over a conversation: yes. Over anything else: no.
  save_conversation({}, "models/x", path);
  EXPECT_TRUE(load_conversation(path).turns.empty());
  const fs::path other = folder / "notes.txt";
  write_text(other, "mine");
  EXPECT_THROW(save_conversation({}, "m", other), Error);
  EXPECT_EQ(read_text(other), "mine");
  EXPECT_THROW(save_conversation({}, "m", folder / "notes.txt/place.json"), Error);
  EXPECT_THROW(load_conversation(folder / "none.json"), Error);
}

TEST(Conversation, BadFilesAreNamed) {
  const auto message = [](const std::string& text) -> std::string {
    try {
      parse_conversation(parse_json(text, "f"), "f");
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message("[]"), "");
  EXPECT_EQ(message(R"({"messages": []})"), "");
  EXPECT_EQ(message(R"([{"role":"system","content":"s"}])"), "");
  EXPECT_EQ(message(R"([{"role":"user","content":"a"},{"role":"assistant","content":"b",
                         "reasoning_content":null}])"),
            "");
  EXPECT_EQ(message("3"),
            "[f] got a JSON number, expected a conversation: an object with \"messages\"");
  EXPECT_EQ(message(R"({"format":"qx-chat-2","messages":[]})"),
            "[f] got format \"qx-chat-2\", expected \"qx-chat-1\"");
  EXPECT_EQ(message(R"({})"), "[f] key 'messages': got null, expected an array");
  EXPECT_EQ(message(R"([{"role":"user","content":"a"}])"),
            "[f] got no answer to the last message, expected the assistant's");
  EXPECT_EQ(message(R"([{"role":"assistant","content":"a"}])"),
            "[f, message 1] got role 'assistant', expected 'user'");
  EXPECT_EQ(message(R"([{"role":"user","content":"a"},{"role":"system","content":"a"}])"),
            "[f, message 2] got role 'system', expected 'assistant'");
  EXPECT_NE(message(R"([{"role":"user","content":["a"]}])"), "");
  EXPECT_NE(message(R"([3])"), "");
  EXPECT_NE(message(R"([{"role":"user","content":"a"},
                        {"role":"assistant","content":"b","reasoning_content":3}])"),
            "");
}

}  // namespace
}  // namespace qx
