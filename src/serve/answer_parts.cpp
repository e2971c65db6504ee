// SPDX-License-Identifier: Apache-2.0
#include "serve/answer_parts.h"

#include <algorithm>

#include "base/error.h"
#include "io/json.h"

namespace qx {
namespace {

constexpr std::string_view kThink = "<think>", kEndThink = "</think>";
constexpr std::string_view kCall = "<tool_call>", kEndCall = "</tool_call>";
constexpr std::string_view kSpace = " \t\r\n";

// Bytes at the end of `text` that may be the beginning of `tag`.
std::size_t open_end(std::string_view text, std::string_view tag) {
  for (std::size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
    if (text.ends_with(tag.substr(0, n))) return n;
  }
  return 0;
}

bool read_call(std::string_view text, AnswerPart& part) {
  Json call;
  try {
    call = parse_json(text, "tool call");
  } catch (const Error&) {
    return false;
  }
  const Json& name = json_member(call, "name");
  if (!name.is_string() || name.get_ref<const std::string&>().empty()) return false;
  const Json& arguments = json_member(call, "arguments");
  part.kind = AnswerPart::Kind::kToolCall;
  part.name = name.get<std::string>();
  part.text = arguments.is_null()     ? "{}"
              : arguments.is_string() ? arguments.get<std::string>()
                                      : dump_json(arguments, -1, false, false);
  return true;
}

}  // namespace

AnswerSplitter::AnswerSplitter(AnswerFormat format) : format_(format) {
  if (format.thinking && format.begins_thinking) {
    state_ = State::kThinking;
    could_think_ = false;
    skip_space_ = true;
  }
}

std::vector<AnswerPart> AnswerSplitter::push(std::string_view piece) {
  std::vector<AnswerPart> out;
  held_ += piece;
  while (step(out, false)) {
  }
  return out;
}

std::vector<AnswerPart> AnswerSplitter::finish() {
  std::vector<AnswerPart> out;
  while (step(out, true)) {
  }
  return out;
}

void AnswerSplitter::emit(std::vector<AnswerPart>& out, AnswerPart::Kind kind,
                          std::string_view text) {
  if (skip_space_) {
    text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
    if (text.empty()) return;
    skip_space_ = false;
  }
  if (text.empty()) return;
  if (text.find_first_not_of(kSpace) != std::string_view::npos) could_think_ = false;
  if (!out.empty() && out.back().kind == kind) {
    out.back().text += text;
  } else {
    out.push_back({kind, std::string(text), {}});
  }
}

void AnswerSplitter::end_call(std::vector<AnswerPart>& out, bool closed) {
  std::string_view body = held_;
  body.remove_prefix(kCall.size());
  std::size_t whole = held_.size();
  if (closed) {
    const std::size_t end = body.find(kEndCall);
    body = body.substr(0, end);
    whole = kCall.size() + end + kEndCall.size();
  }
  AnswerPart call;
  if (read_call(body, call)) {
    out.push_back(std::move(call));
    could_think_ = false;
    skip_space_ = true;
  } else {
    emit(out, AnswerPart::Kind::kText, std::string_view(held_).substr(0, whole));
  }
  held_.erase(0, whole);
  searched_ = 0;
  state_ = State::kText;
}

// One move; false when there is nothing more to do with what is held.
bool AnswerSplitter::step(std::vector<AnswerPart>& out, bool last) {
  using Kind = AnswerPart::Kind;
  if (held_.empty()) return false;
  if (state_ == State::kCall) {
    const bool closed = held_.find(kEndCall, searched_) != std::string::npos;
    if (closed || last) {
      end_call(out, closed);
      return true;
    }
    searched_ = held_.size() - open_end(held_, kEndCall);
    return false;
  }
  if (state_ == State::kThinking) {
    const std::size_t end = held_.find(kEndThink);
    if (end != std::string::npos) {
      emit(out, Kind::kThinking, std::string_view(held_).substr(0, end));
      held_.erase(0, end + kEndThink.size());
      state_ = State::kText;
      skip_space_ = true;
      return true;
    }
    const std::size_t kept = last ? 0 : open_end(held_, kEndThink);
    emit(out, Kind::kThinking, std::string_view(held_).substr(0, held_.size() - kept));
    held_.erase(0, held_.size() - kept);
    return false;
  }
  // Thinking comes first or not at all: a tag later on is what the text is about.
  const bool think = format_.thinking && could_think_;
  const std::size_t think_at = think ? held_.find(kThink) : std::string::npos;
  const std::size_t call_at = format_.tool_calls ? held_.find(kCall) : std::string::npos;
  const bool think_first = think_at < call_at && held_.find_first_not_of(kSpace) == think_at;
  if (think_first) {
    held_.erase(0, think_at + kThink.size());
    state_ = State::kThinking;
    could_think_ = false;
    skip_space_ = true;
    return true;
  }
  if (call_at != std::string::npos) {
    emit(out, Kind::kText, std::string_view(held_).substr(0, call_at));
    held_.erase(0, call_at);
    state_ = State::kCall;
    searched_ = kCall.size();
    return true;
  }
  std::size_t kept = 0;
  if (!last && format_.tool_calls) kept = open_end(held_, kCall);
  if (!last && think) kept = std::max(kept, open_end(held_, kThink));
  // White space before thinking may belong to the format.
  const std::string_view shown = std::string_view(held_).substr(0, held_.size() - kept);
  if (!last && think && shown.find_first_not_of(kSpace) == std::string_view::npos) return false;
  emit(out, Kind::kText, shown);
  held_.erase(0, held_.size() - kept);
  return false;
}

}  // namespace qx
