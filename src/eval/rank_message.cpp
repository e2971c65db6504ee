// SPDX-License-Identifier: Apache-2.0
#include "eval/rank_message.h"

#include <array>

#include "base/error.h"

namespace qx {
namespace {

constexpr std::array<const char*, 7> kKinds = {"hello", "idle",   "answer", "failed",
                                               "bye",   "window", "stop"};

RankMessage::Kind read_kind(const Json& json, std::string_view place) {
  const std::string name = json_string(json, "kind", place);
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (name == kKinds[i]) return static_cast<RankMessage::Kind>(i);
  }
  fail(place, "key 'kind': got '{}', expected a message of this version of qx", name);
}

std::size_t read_index(const Json& json, std::string_view key, std::string_view place) {
  const std::int64_t value = json_int(json, key, place);
  if (value < 0) fail(place, "key '{}': got {}, expected an index", key, value);
  return static_cast<std::size_t>(value);
}

std::string shown(const Json& json) {
  constexpr std::size_t kMost = 200;  // characters that a reader may still compare
  if (json.is_null()) return "none";
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= kMost ? text : text.substr(0, kMost) + "..";
}

}  // namespace

std::string encode_message(const RankMessage& message) {
  Json json;
  json["kind"] = kKinds[static_cast<std::size_t>(message.kind)];
  const bool has_unit =
      message.kind == RankMessage::Kind::kAnswer || message.kind == RankMessage::Kind::kWindow;
  if (has_unit) {
    json["model"] = message.window.model;
    json["task"] = message.window.task;
  }
  if (message.kind == RankMessage::Kind::kWindow) json["items"] = message.window.items;
  if (message.kind == RankMessage::Kind::kAnswer) json["line"] = answer_line(message.answer);
  if (message.kind == RankMessage::Kind::kFailed) json["text"] = message.text;
  if (!message.hello.is_null()) json["hello"] = message.hello;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

RankMessage decode_message(std::string_view bytes, std::string_view place) {
  const Json json = parse_json(bytes, place);
  RankMessage message;
  message.kind = read_kind(json, place);
  message.hello = json.value("hello", Json());
  switch (message.kind) {
    case RankMessage::Kind::kFailed:
      message.text = json_string(json, "text", place);
      break;
    case RankMessage::Kind::kAnswer:
      message.window.model = read_index(json, "model", place);
      message.window.task = read_index(json, "task", place);
      message.answer = parse_answer(json_string(json, "line", place), place);
      break;
    case RankMessage::Kind::kWindow:
      message.window.model = read_index(json, "model", place);
      message.window.task = read_index(json, "task", place);
      for (const Json& item : json.value("items", Json::array())) {
        if (!item.is_number_unsigned())
          fail(place, "key 'items': got {}, expected indices", shown(item));
        message.window.items.push_back(item.get<std::size_t>());
      }
      break;
    case RankMessage::Kind::kHello:
    case RankMessage::Kind::kIdle:
    case RankMessage::Kind::kBye:
    case RankMessage::Kind::kStop:
      break;
  }
  return message;
}

Json rank_identity(const Json& run) {
  Json identity = run;
  for (const char* key : {"threads", "kernels", "ranks"}) identity.erase(key);
  if (identity.contains("model")) identity["model"].erase("path");
  if (identity.contains("tasks")) {
    for (auto& [name, task] : identity["tasks"].items()) {
      for (const char* path_key : {"data", "origin", "description", "examples"})
        task.erase(path_key);
    }
  }
  return identity;
}

std::string first_rank_difference(const Json& got, const Json& rank0, const std::string& path) {
  if (got == rank0) return "";
  if (got.is_object() && rank0.is_object()) {
    for (const auto* side : {&got, &rank0}) {
      for (const auto& [key, unused] : side->items()) {
        const std::string text =
            first_rank_difference(got.value(key, Json()), rank0.value(key, Json()),
                                  path.empty() ? key : path + "." + key);
        if (!text.empty()) return text;
      }
    }
  }
  return fmt::format("{}: got {}, rank 0 has {}", path, shown(got), shown(rank0));
}

}  // namespace qx
