// SPDX-License-Identifier: Apache-2.0
#include "chat/conversation.h"

#include <system_error>
#include <utility>

#include "base/error.h"
#include "io/staged.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kFormat = "qx-chat-1";

const Json& message_list(const Json& document, std::string_view origin) {
  if (document.is_array()) return document;
  if (!document.is_object()) {
    fail(origin, "got a JSON {}, expected a conversation: an object with \"messages\"",
         document.type_name());
  }
  const Json& format = json_member(document, "format");
  if (!format.is_null() && format != kFormat) {
    fail(origin, "got format {}, expected \"{}\"", format.dump(), kFormat);
  }
  const Json& messages = json_member(document, "messages");
  if (!messages.is_array()) {
    fail(origin, "key 'messages': got {}, expected an array", messages.type_name());
  }
  return messages;
}

}  // namespace

Json Conversation::messages(std::size_t first, std::optional<std::string_view> next) const {
  Json out = Json::array();
  if (system) out.push_back({{"role", "system"}, {"content", *system}});
  for (std::size_t i = first; i < turns.size(); ++i) {
    const ChatTurn& turn = turns[i];
    out.push_back({{"role", "user"}, {"content", turn.user}});
    Json answer = {{"role", "assistant"}, {"content", turn.answer}};
    if (!turn.reasoning.empty()) answer["reasoning_content"] = turn.reasoning;
    out.push_back(std::move(answer));
  }
  if (next) out.push_back({{"role", "user"}, {"content", *next}});
  return out;
}

Json conversation_json(const Conversation& conversation, std::string_view model) {
  return {
      {"format", kFormat}, {"model", model}, {"messages", conversation.messages(0, std::nullopt)}};
}

Conversation parse_conversation(const Json& document, std::string_view origin) {
  const Json& messages = message_list(document, origin);
  Conversation out;
  bool users_turn = true;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string place = fmt::format("{}, message {}", origin, i + 1);
    const std::string role = json_string(messages[i], "role", place);
    std::string content = json_string(messages[i], "content", place);
    if (i == 0 && role == "system") {
      out.system = std::move(content);
      continue;
    }
    const std::string_view expected = users_turn ? "user" : "assistant";
    if (role != expected) fail(place, "got role '{}', expected '{}'", role, expected);
    if (users_turn) {
      out.turns.push_back({std::move(content), ""});
    } else {
      out.turns.back().answer = std::move(content);
      if (!json_member(messages[i], "reasoning_content").is_null()) {
        out.turns.back().reasoning = json_string(messages[i], "reasoning_content", place);
      }
    }
    users_turn = !users_turn;
  }
  if (!users_turn) fail(origin, "got no answer to the last message, expected the assistant's");
  return out;
}

void save_conversation(const Conversation& conversation, std::string_view model,
                       const fs::path& path) {
  std::error_code ignored;
  const bool exists = fs::exists(fs::symlink_status(path, ignored));
  if (exists) {
    try {
      (void)load_conversation(path);
    } catch (const Error&) {
      fail(path.string(), "exists and is no conversation; choose another name");
    }
  }
  write_file_atomic(
      path,
      conversation_json(conversation, model).dump(2, ' ', false, Json::error_handler_t::replace) +
          "\n",
      exists);
}

Conversation load_conversation(const fs::path& path) {
  return parse_conversation(read_json_file(path, kLargestConversation), path.string());
}

}  // namespace qx
