// Parts a model's answer into what it thought and what it says, as the text comes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"

namespace qx {

struct AnswerPiece {
  std::string text;
  bool thinking = false;
};

// Thinking is what stands between the markers, when the opening one is the first thing in the answer but
// blanks, or the prompt ended in it; a marker further in is plain text. Blanks right behind a marker, and
// a marker itself, are in no piece. Everything else is, once, in order; what may still become a marker
// is held back.
class ThinkingSplit {
 public:
  // Without markers everything is answer. prompt: the text that the model goes on from.
  ThinkingSplit(std::optional<ThinkingMarkers> markers, std::string_view prompt);

  std::vector<AnswerPiece> push(std::string_view text);
  std::vector<AnswerPiece> finish();

  // What the pieces so far add up to; the thinking without line feeds at its end.
  std::string reasoning() const;
  const std::string& answer() const { return answer_; }
  bool thinking() const { return state_ == State::kThinking; }  // now

 private:
  enum class State { kStart, kThinking, kAnswer };
  void step(std::vector<AnswerPiece>& out);
  void emit(std::string text, std::vector<AnswerPiece>& out);

  ThinkingMarkers markers_;
  State state_ = State::kStart;
  bool skip_blanks_ = false;  // a marker was the last thing
  std::string held_, reasoning_, answer_;
};

}  // namespace qx
