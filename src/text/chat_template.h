// Chat templates: a small, sandboxed Jinja engine (text/jinja_*.h) with the variables that Hugging Face's
// apply_chat_template gives a template.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "io/json.h"

namespace qx {

struct ChatOptions {
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // cut after the last message's content (prefill)
  Json tools;                           // null or an array
  Json variables;                       // further variables, an object: {"enable_thinking": false}
};

// Threads: const members may be called from any thread.
class ChatTemplate {
 public:
  // Fails: Error with line and expectation for anything that is not valid or not supported Jinja.
  ChatTemplate(std::string source, std::string bos_token, std::string eos_token, std::string origin);
  // chat_template.jinja, else "chat_template" of tokenizer_config.json (a string, or a list of named ones of
  // which "default" is taken). Nothing when the model has none.
  static std::optional<ChatTemplate> load(const std::filesystem::path& model_directory);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // messages: array of {"role","content",..}. Fails: Error when the template raises, uses something
  // unsupported, or exceeds its limits (steps, depth, output size).
  std::string render(const Json& messages, const ChatOptions& options) const;

  const std::string& source() const;
  std::string hash() const;   // SHA-256 of the source
  bool has_thinking() const;  // as mlx-lm decides it: <think> and </think> are in the vocabulary's template

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The fixed date that strftime_now gives, so that a prompt is the same on every day (docs/chat.md).
constexpr std::string_view kTemplateDate = "2024-07-26";

}  // namespace qx
