// Takes apart what a chat model writes: thinking, text for the reader, and calls of tools in Qwen's
// format, <tool_call>\n{"name": .., "arguments": {..}}\n</tool_call>. Works on a stream.
// Source of the format: the chat templates of Qwen2.5 and Qwen3 (tokenizer_config.json on the Hub).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace qx {

struct AnswerPart {
  enum class Kind { kText, kThinking, kToolCall };
  Kind kind = Kind::kText;
  std::string text;  // of kToolCall: the arguments as JSON text
  std::string name;  // of the function
};

struct AnswerFormat {
  bool thinking = false;         // <think> .. </think> is thinking
  bool begins_thinking = false;  // the prompt has opened it already
  bool tool_calls = false;
};

// Invariant: which parts come out, joined, does not depend on how the text is cut into pieces. What
// looks like a call and is none (no JSON, no name, no end) comes out as text, with its tags.
// White space around calls and behind thinking belongs to the format and is left out.
class AnswerSplitter {
 public:
  explicit AnswerSplitter(AnswerFormat format);
  std::vector<AnswerPart> push(std::string_view piece);
  std::vector<AnswerPart> finish();

 private:
  enum class State { kText, kThinking, kCall };
  bool step(std::vector<AnswerPart>& out, bool last);
  void emit(std::vector<AnswerPart>& out, AnswerPart::Kind kind, std::string_view text);
  void end_call(std::vector<AnswerPart>& out, bool closed);

  const AnswerFormat format_;
  State state_ = State::kText;
  bool skip_space_ = false;  // at the beginning of a text that follows a part of the format
  bool could_think_ = true;  // nothing has been written yet
  std::string held_;
  std::size_t searched_ = 0;  // of held_, while in a call
};

}  // namespace qx
