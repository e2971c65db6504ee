// SPDX-License-Identifier: Apache-2.0
#include "chat/chat_input.h"

#include <array>
#include <utility>

namespace qx {
namespace {

constexpr std::string_view kFence = "\"\"\"";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

}  // namespace

MessageLines::Message MessageLines::take() {
  Message out{std::exchange(text_, {}), !in_block_ && !continued_};
  in_block_ = continued_ = false;
  return out;
}

void MessageLines::clear() {
  take();
}

std::optional<MessageLines::Message> MessageLines::add(std::string_view line) {
  if (!inside() && line.starts_with(kFence)) {
    in_block_ = true;
    line.remove_prefix(kFence.size());
    if (line.empty()) return std::nullopt;
  }
  if (in_block_) {
    const bool last = line.ends_with(kFence);
    text_ += last ? line.substr(0, line.size() - kFence.size()) : line;
    if (!last) {
      text_ += '\n';
      return std::nullopt;
    }
    if (text_.ends_with('\n')) text_.pop_back();  // the closing fence alone on its line
    return take();
  }
  if (line.ends_with('\\')) {
    text_ += line.substr(0, line.size() - 1);
    text_ += '\n';
    continued_ = true;
    return std::nullopt;
  }
  text_ += line;
  return take();
}

std::optional<MessageLines::Message> MessageLines::finish() {
  if (!inside()) return std::nullopt;
  if (text_.ends_with('\n')) text_.pop_back();
  return take();
}

ParsedInput parse_chat_input(const MessageLines::Message& message) {
  constexpr std::array<std::pair<std::string_view, ChatCommand>, 9> kCommands = {
      {{"system", ChatCommand::kSystem},
       {"reset", ChatCommand::kReset},
       {"save", ChatCommand::kSave},
       {"load", ChatCommand::kLoad},
       {"model", ChatCommand::kModel},
       {"temp", ChatCommand::kTemperature},
       {"help", ChatCommand::kHelp},
       {"quit", ChatCommand::kQuit},
       {"exit", ChatCommand::kQuit}}};
  std::string_view text = message.text;
  if (!message.typed_at_once || !text.starts_with('/')) return {ChatCommand::kNone, message.text};
  text.remove_prefix(1);
  if (text.starts_with('/')) return {ChatCommand::kNone, std::string(text)};
  const std::string_view name = text.substr(0, text.find_first_of(" \t\r\n"));
  for (const auto& [known, command] : kCommands) {
    if (name == known) return {command, std::string(trimmed(text.substr(name.size())))};
  }
  return {ChatCommand::kUnknown, std::string(name)};
}

std::string_view chat_help() {
  return "/system [TEXT]  show or set the system prompt; /system \"\" removes it\n"
         "/reset          forget all turns, keep the system prompt\n"
         "/save FILE      write the conversation as JSON\n"
         "/load FILE      go on with a saved conversation\n"
         "/model [DIR]    show the model, or go on with another one\n"
         "/temp [NUMBER]  show or set the sampling temperature; 0 takes the best token\n"
         "/help           this list\n"
         "/quit           end; so does Ctrl-D\n"
         "Several lines: end a line in \\, or put the text between \"\"\" and \"\"\". A message "
         "that\n"
         "begins with a slash: write two. Ctrl-C stops an answer.\n";
}

}  // namespace qx
