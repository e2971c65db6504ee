// What a user types in a chat: messages of one or several lines, and commands.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace qx {

// Puts the lines of a message together. A line that ends in a backslash goes on in the next one; a line that
// begins with """ opens a block, which the next """ at the end of a line closes. Blocks are taken as they
// are; a text with line feeds in it (pasted, or from an editor) is one line.
class MessageLines {
 public:
  struct Message {
    std::string text;
    bool typed_at_once = true;  // not a block and not continued: only such a line can be a command
  };
  // line: without its line feed. The message, once it is whole.
  std::optional<Message> add(std::string_view line);
  bool inside() const { return in_block_ || continued_; }  // more lines are expected
  std::optional<Message> finish();                         // at the end of the input: what is there
  void clear();

 private:
  Message take();

  std::string text_;
  bool in_block_ = false, continued_ = false;
};

enum class ChatCommand {
  kNone,     // a message; the argument is its text
  kUnknown,  // the argument is the command's name
  kSystem,
  kReset,
  kSave,
  kLoad,
  kModel,
  kTemperature,
  kHelp,
  kQuit,
};
struct ParsedInput {
  ChatCommand command = ChatCommand::kNone;
  std::string argument = {};  // without blanks around it
};
// "/save notes.json" is a command; "//text" is the message "/text".
ParsedInput parse_chat_input(const MessageLines::Message& message);

// One line each: the commands and how to write several lines.
std::string_view chat_help();

}  // namespace qx
