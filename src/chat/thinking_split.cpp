// SPDX-License-Identifier: Apache-2.0
#include "chat/thinking_split.h"

#include <algorithm>
#include <utility>

namespace qx {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view without_blanks_at_end(std::string_view text) {
  const std::size_t last = text.find_last_not_of(kBlanks);
  return last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
}

// Length of the longest end of text that is a beginning, but not all, of marker.
std::size_t partial_marker(std::string_view text, std::string_view marker) {
  for (std::size_t n = std::min(text.size(), marker.size() - 1); n > 0; --n) {
    if (marker.starts_with(text.substr(text.size() - n))) return n;
  }
  return 0;
}

}  // namespace

ThinkingSplit::ThinkingSplit(std::optional<ThinkingMarkers> markers, std::string_view prompt) {
  if (!markers) {
    state_ = State::kAnswer;
    return;
  }
  markers_ = *std::move(markers);
  if (without_blanks_at_end(prompt).ends_with(markers_.open)) {
    state_ = State::kThinking;
    skip_blanks_ = true;
  }
}

void ThinkingSplit::emit(std::string text, std::vector<AnswerPiece>& out) {
  if (skip_blanks_) text.erase(0, std::min(text.find_first_not_of(kBlanks), text.size()));
  if (text.empty()) return;
  skip_blanks_ = false;
  const bool thinking = state_ == State::kThinking;
  (thinking ? reasoning_ : answer_) += text;
  out.push_back({std::move(text), thinking});
}

// Goes as far as what is held allows.
void ThinkingSplit::step(std::vector<AnswerPiece>& out) {
  if (state_ == State::kStart) {
    const std::size_t first = std::min(held_.find_first_not_of(kBlanks), held_.size());
    const std::string_view rest = std::string_view(held_).substr(first);
    if (rest.size() < markers_.open.size() && markers_.open.starts_with(rest)) return;
    if (rest.starts_with(markers_.open)) {
      held_.erase(0, first + markers_.open.size());
      state_ = State::kThinking;
      skip_blanks_ = true;
    } else {
      state_ = State::kAnswer;
    }
  }
  if (state_ == State::kThinking) {
    const std::size_t close = held_.find(markers_.close);
    if (close == std::string::npos) {
      const std::size_t shown = held_.size() - partial_marker(held_, markers_.close);
      emit(held_.substr(0, shown), out);
      held_.erase(0, shown);
      return;
    }
    emit(held_.substr(0, close), out);
    held_.erase(0, close + markers_.close.size());
    state_ = State::kAnswer;
    skip_blanks_ = true;
  }
  emit(std::exchange(held_, {}), out);
}

std::vector<AnswerPiece> ThinkingSplit::push(std::string_view text) {
  std::vector<AnswerPiece> out;
  held_ += text;
  step(out);
  return out;
}

std::vector<AnswerPiece> ThinkingSplit::finish() {
  std::vector<AnswerPiece> out;
  if (state_ == State::kStart) state_ = State::kAnswer;
  emit(std::exchange(held_, {}), out);
  return out;
}

std::string ThinkingSplit::reasoning() const {
  return std::string(without_blanks_at_end(reasoning_));
}

}  // namespace qx
