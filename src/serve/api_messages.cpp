// SPDX-License-Identifier: Apache-2.0
#include "serve/api_messages.h"

#include <algorithm>

#include "base/error.h"

namespace qx {
namespace {

std::string message_place(std::size_t index) {
  return fmt::format("messages[{}]", index);
}

std::string joined_parts(const Json& parts, const std::string& place) {
  std::string text;
  for (const Json& part : parts) {
    const Json& type = json_member(part, "type");
    if (type != "text" && type != "refusal") {
      throw ApiError(400,
                     fmt::format("{}: got a content part of type {}, expected text alone", place,
                                 type.is_string() ? type.get<std::string>().substr(0, 40)
                                                  : std::string(type.type_name())),
                     "messages");
    }
    const Json& value = json_member(part, type.get<std::string>());
    if (!value.is_string()) {
      throw ApiError(400, place + ": got a content part without text", "messages");
    }
    text += value.get_ref<const std::string&>();
  }
  return text;
}

// {"name", "arguments"} with the arguments as an object where they are JSON.
Json called_function(const Json& call, const std::string& place) {
  const Json& function = json_member(call, "function");
  const Json& name = json_member(function, "name");
  if (!name.is_string()) {
    throw ApiError(400, place + ": got a tool call without function.name", "messages");
  }
  Json arguments = json_member(function, "arguments");
  if (arguments.is_string()) {
    const auto text = arguments.get<std::string>();
    try {
      arguments = text.empty() ? Json::object() : parse_json(text, "arguments");
    } catch (const Error&) {
      // A model's own slip comes back as it was said.
    }
  } else if (arguments.is_null()) {
    arguments = Json::object();
  }
  return {{"name", name}, {"arguments", std::move(arguments)}};
}

Json called_tools(const Json& calls, const std::string& place) {
  if (!calls.is_array()) throw ApiError(400, place + ": tool_calls: expected a list", "messages");
  Json out = Json::array();
  for (const Json& call : calls) {
    Json entry = {{"type", "function"}, {"function", called_function(call, place)}};
    if (const Json& id = json_member(call, "id"); id.is_string()) entry["id"] = id;
    out.push_back(std::move(entry));
  }
  return out;
}

Json template_message(const Json& message, const std::string& place) {
  if (!message.is_object()) throw ApiError(400, place + ": expected an object", "messages");
  const Json& role = json_member(message, "role");
  static constexpr std::string_view kRoles[] = {"system",    "developer", "user",
                                                "assistant", "tool",      "function"};
  if (!role.is_string() || std::find(std::begin(kRoles), std::end(kRoles),
                                     role.get_ref<const std::string&>()) == std::end(kRoles)) {
    throw ApiError(400, place + ": expected the role system, developer, user, assistant or tool",
                   "messages");
  }
  Json out = {{"role", role == "developer" ? Json("system") : role}};
  const Json& content = json_member(message, "content");
  const Json& calls = json_member(message, "tool_calls");
  if (content.is_string()) {
    out["content"] = content;
  } else if (content.is_array()) {
    out["content"] = joined_parts(content, place);
  } else if (content.is_null() && role == "assistant") {
    out["content"] = "";
  } else {
    throw ApiError(400, place + ": content: expected a string or a list of text parts", "messages");
  }
  if (!calls.is_null()) out["tool_calls"] = called_tools(calls, place);
  for (const char* name : {"name", "tool_call_id", "reasoning_content"}) {
    const Json& value = json_member(message, name);
    if (value.is_string()) out[name] = value;
  }
  return out;
}

}  // namespace

Json template_messages(const Json& messages) {
  if (!messages.is_array() || messages.empty()) {
    throw ApiError(400, "messages: expected a list of at least one message", "messages");
  }
  if (messages.size() > kMostMessages) {
    throw ApiError(
        400, fmt::format("messages: got {}, expected at most {}", messages.size(), kMostMessages),
        "messages");
  }
  Json out = Json::array();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    out.push_back(template_message(messages[i], message_place(i)));
  }
  return out;
}

Json template_tools(const Json& tools) {
  if (tools.is_null()) return nullptr;
  if (!tools.is_array() || tools.size() > kMostTools) {
    throw ApiError(400, fmt::format("tools: expected a list of at most {}", kMostTools), "tools");
  }
  for (const Json& tool : tools) {
    const Json& name = json_member(json_member(tool, "function"), "name");
    if (json_member(tool, "type") != "function" || !name.is_string() ||
        name.get_ref<const std::string&>().empty()) {
      throw ApiError(400, "tools: expected {\"type\": \"function\", \"function\": {\"name\": ..}}",
                     "tools");
    }
  }
  return tools.empty() ? Json() : tools;
}

}  // namespace qx
