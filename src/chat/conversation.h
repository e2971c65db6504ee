// What was said in a chat: a system prompt and turns, kept as a file that other programs read too.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace qx {

struct ChatTurn {
  std::string user;
  std::string answer;
  std::string reasoning = {};  // what the model thought before it; may be empty
};

// All text is UTF-8.
struct Conversation {
  std::optional<std::string> system;
  std::vector<ChatTurn> turns;

  // As a template takes them: from turn `first` on, then `next`, the user's new message. The system
  // prompt always comes first. Reasoning is a message's reasoning_content; whether the model sees it
  // again is the template's choice.
  Json messages(std::size_t first, std::optional<std::string_view> next) const;
};

// {"format": "qx-chat-1", "model": .., "messages": [{"role", "content", ..}, ..]}
Json conversation_json(const Conversation& conversation, std::string_view model);

// Takes that document, or its array of messages alone: at most one system message, first, then user and
// assistant in turn, each with a text as content.
// Fails: Error naming the message by its place in the list.
Conversation parse_conversation(const Json& document, std::string_view origin);

// Whole or absent. An existing file is replaced only when it is a conversation.
// Fails: Error.
void save_conversation(const Conversation& conversation, std::string_view model,
                       const std::filesystem::path& path);
// Fails: Error; also for a file of more than kLargestConversation bytes.
Conversation load_conversation(const std::filesystem::path& path);
constexpr std::size_t kLargestConversation = std::size_t{64} << 20;

}  // namespace qx
