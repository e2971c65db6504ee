// Chat templates: a small, sandboxed Jinja engine (text/jinja_*.h) with the variables that Hugging Face's
// apply_chat_template gives a template. What it supports and where it differs: docs/chat.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "io/json.h"

namespace qx {

class Tokenizer;

struct ChatOptions {
  bool add_generation_prompt = true;
  // Cut the text behind the last message's content, so that a model goes on with it (prefill). Turns
  // add_generation_prompt off.
  bool continue_final_message = false;
  Json tools;      // null or an array of objects
  Json variables;  // null or an object of further variables: {"enable_thinking": false}
};

// Threads: const members may be called from any thread.
class ChatTemplate {
 public:
  // An empty bos_token or eos_token means that the model has none: the variable stays undefined.
  // origin names the template in errors.
  // Fails: Error with line and expectation for anything that is not valid or not supported Jinja.
  ChatTemplate(std::string source, std::string bos_token, std::string eos_token,
               std::string origin);
  // chat_template.jinja, else "chat_template" of tokenizer_config.json (a string, or a list of named ones of
  // which "default" is taken). Nothing when the model has none. The special tokens of tokenizer_config.json
  // are the template's variables (bos_token, eos_token, pad_token, ..), as in Hugging Face.
  static std::optional<ChatTemplate> load(const std::filesystem::path& model_directory);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // messages: array of {"role","content",..}. Ill-formed UTF-8 in them becomes U+FFFD.
  // Fails: Error when the template raises, uses something unsupported, or exceeds its limits (steps,
  // depth, bytes); when variables name one that qx itself sets; when there is nothing to continue.
  std::string render(const Json& messages, const ChatOptions& options) const;

  const std::string& source() const;
  std::string hash() const;  // SHA-256 of the source
  // Whether the source mentions thinking ("enable_thinking" or "<think>"). The template cannot see the
  // vocabulary: what mlx-lm decides by is has_thinking_tokens().
  bool has_thinking() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Texts between which a model thinks before it answers, when its vocabulary has a known pair, by mlx-lm's rule.
struct ThinkingMarkers {
  std::string open, close;
};
std::optional<ThinkingMarkers> thinking_markers(const Tokenizer& tokenizer);

// Whether there are thinking_markers(). mlx-lm gives its templates
// enable_thinking = this value unless the user gives one.
bool has_thinking_tokens(const Tokenizer& tokenizer);

// The fixed date that strftime_now gives, so that a prompt is the same on every day (docs/chat.md).
constexpr std::string_view kTemplateDate = "2024-07-26";

}  // namespace qx
