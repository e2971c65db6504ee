// How an answer looks while it comes: on a terminal, thinking is dim and nothing can steer it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "chat/thinking_split.h"

namespace qx::cli {

// On stdout. Where that is no terminal the text is as the model wrote it, with thinking between its
// markers; on one, control characters are escaped.
class ChatDisplay {
 public:
  ChatDisplay(bool terminal, bool colours) : terminal_(terminal), colours_(colours) {}

  void begin(const ThinkingMarkers& markers);  // of an answer
  void show(const AnswerPiece& piece);
  void end();  // the line is ended too; does nothing when there was no begin()

  // A line about the answer, on stderr.
  void note(const std::string& line) const;

 private:
  void write(std::string_view text);
  void leave_thinking(bool for_answer);

  bool terminal_, colours_;
  ThinkingMarkers markers_;
  bool answering_ = false, thinking_ = false, line_begins_ = true;
};

}  // namespace qx::cli
