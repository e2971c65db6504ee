// What chat reads: a conversation's file, lines that are typed, and a model's text, cut anywhere. The first line
// of the input is the stop text and the cuts; all cuts of the rest must give the same.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "chat/chat_input.h"
#include "chat/conversation.h"
#include "chat/thinking_split.h"
#include "generate/stop_text.h"

namespace {

// A conversation that was read is written and read again as the same.
void read_conversation(std::string_view text) {
  try {
    const qx::Conversation read = qx::parse_conversation(qx::parse_json(text, "fuzz"), "fuzz");
    const qx::Json written = qx::conversation_json(read, "m");
    QX_CHECK(qx::conversation_json(qx::parse_conversation(written, "again"), "m") == written);
  } catch (const qx::Error&) {
  }
}

void read_lines(std::string_view text) {
  qx::MessageLines lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto message = lines.add(text.substr(0, end));
    QX_CHECK(message.has_value() != lines.inside());
    if (message) qx::parse_chat_input(*message);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  lines.finish();
  QX_CHECK(!lines.inside());
}

std::string shown(std::string_view text, std::string_view stop_text, std::size_t size) {
  qx::StopText stop({std::string(stop_text)});
  qx::ThinkingSplit split(qx::ThinkingMarkers{"<think>", "</think>"}, "");
  std::string thought, answer;
  const auto add = [&](const std::vector<qx::AnswerPiece>& pieces) {
    for (const qx::AnswerPiece& piece : pieces) (piece.thinking ? thought : answer) += piece.text;
  };
  for (std::size_t at = 0; at < text.size(); at += size) {
    add(split.push(stop.push(text.substr(at, size))));
  }
  add(split.push(stop.finish()));
  add(split.finish());
  QX_CHECK(split.answer() == answer);
  return "(" + thought + ")" + answer;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_conversation(text);
  read_lines(text);
  const std::size_t line = text.find('\n');
  if (line == std::string_view::npos || line < 2) return 0;
  const std::size_t cut = 1 + static_cast<unsigned char>(text[0]) % 16;
  const std::string_view stop = text.substr(1, line - 1), rest = text.substr(line + 1);
  QX_CHECK(shown(rest, stop, cut) == shown(rest, stop, rest.size() + 1));
  return 0;
}
