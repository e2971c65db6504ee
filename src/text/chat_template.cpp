// Hugging Face's apply_chat_template on our own Jinja engine (chat_template.h).
// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <array>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "text/jinja_eval.h"
#include "text/jinja_lexer.h"
#include "text/jinja_parser.h"
#include "text/jinja_text.h"
#include "text/jinja_tojson.h"

namespace qx {

namespace {

// Names under which a message's reasoning is passed; the first is the one that templates read.
constexpr std::array<std::string_view, 3> kReasoning = {"reasoning_content", "thinking",
                                                        "reasoning"};
constexpr std::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";

void check_messages(const Json& messages, std::string_view origin) {
  if (!messages.is_array()) {
    fail(origin, "got messages of type {}, expected an array", messages.type_name());
  }
  for (const Json& message : messages) {
    if (!message.is_object()) {
      fail(origin, "got a message of type {}, expected an object", message.type_name());
    }
  }
}

// Fills reasoning_content from its older names, and thinking for templates that read that.
Json alias_reasoning(const Json& message) {
  for (const std::string_view name : kReasoning) {
    const auto found = message.find(std::string(name));
    if (found == message.end() || found->is_null()) {
      continue;
    }
    const Json reasoning = *found;
    Json out = Json::object();
    out["thinking"] = reasoning;
    for (const auto& [key, value] : message.items()) {
      out[key] = value;
    }
    out["reasoning_content"] = reasoning;
    return out;
  }
  return message;
}

// Marks where the last message's text ends and returns the text. message: the last one, changed.
std::string mark_end(Json& message, std::string_view source, std::string_view origin) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    fail(origin, "got a final message without content, expected one to continue");
  }
  if (source.find("content") == std::string_view::npos) {
    fail(origin, "got a template that does not read 'content', expected one that does");
  }
  Json* text = nullptr;
  if (content->is_string()) {
    text = &*content;
  } else if (content->is_array()) {
    for (Json& block : *content) {
      const auto found = block.is_object() ? block.find("text") : block.end();
      if (found != block.end() && found->is_string()) {
        text = &*found;
      }
    }
  }
  if (text == nullptr) {
    fail(origin, "got a final message whose content has no text, expected one to continue");
  }
  const auto original = text->get<std::string>();
  *text = original + std::string(kContinueTag);
  return original;
}

std::string_view strip_space(std::string_view text, jinja::Side side) {
  return jinja::strip(text, side, std::nullopt);
}

// Cuts the rendered text where mark_end() marked it.
std::string cut_at_end(const std::string& rendered, const std::string& final_text,
                       std::string_view origin) {
  const std::string clean = jinja::to_valid_utf8(final_text);
  const std::string_view tag = strip_space(kContinueTag, jinja::Side::kBoth);
  const std::size_t at = rendered.rfind(tag);
  const std::string_view wanted = strip_space(clean, jinja::Side::kBoth);
  if (at == std::string::npos || rendered.find(wanted) == std::string::npos) {
    fail(origin, "got a template that changes the final message, expected it whole to continue it");
  }
  const std::string_view text = std::string_view(rendered).substr(0, at);
  const bool spacing_kept = rendered.compare(at, kContinueTag.size(), kContinueTag) == 0;
  return std::string(spacing_kept ? text : strip_space(text, jinja::Side::kRight));
}

// A special token is a string, or an object with "content".
std::optional<std::string> token_text(const Json& token) {
  if (token.is_string()) {
    return token.get<std::string>();
  }
  if (token.is_object() && token.contains("content") && token["content"].is_string()) {
    return token["content"].get<std::string>();
  }
  return std::nullopt;
}

// "chat_template" of tokenizer_config.json.
std::optional<std::string> embedded_template(const Json& config, std::string_view origin) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) {
    return std::nullopt;
  }
  if (found->is_string()) {
    return found->get<std::string>();
  }
  if (found->is_array()) {
    for (const Json& entry : *found) {
      if (entry.is_object() && entry.value("name", Json()) == "default" &&
          entry.value("template", Json()).is_string()) {
        return entry["template"].get<std::string>();
      }
    }
  }
  fail(origin, "got chat_template of type {}, expected a string or a list with one named 'default'",
       found->type_name());
}

std::string read_text(const std::filesystem::path& path) {
  const MappedFile file(path);
  if (file.text().size() > jinja::kMaxSourceBytes) {
    fail(path.string(), "got a template of {} bytes, expected at most {}", file.text().size(),
         jinja::kMaxSourceBytes);
  }
  return std::string(file.text());
}

}  // namespace

struct ChatTemplate::Impl {
  std::string source;
  std::string origin;
  std::vector<std::pair<std::string, std::string>> special_tokens;
  std::shared_ptr<const jinja::Template> parsed;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  impl_->parsed = jinja::parse(impl_->source, impl_->origin);
}

ChatTemplate::ChatTemplate(std::string source, std::string bos_token, std::string eos_token,
                           std::string origin)
    : impl_(std::make_unique<Impl>()) {
  impl_->source = std::move(source);
  impl_->origin = std::move(origin);
  if (!bos_token.empty()) {
    impl_->special_tokens.emplace_back("bos_token", std::move(bos_token));
  }
  if (!eos_token.empty()) {
    impl_->special_tokens.emplace_back("eos_token", std::move(eos_token));
  }
  impl_->parsed = jinja::parse(impl_->source, impl_->origin);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::optional<ChatTemplate> ChatTemplate::load(const std::filesystem::path& model_directory) {
  const std::filesystem::path template_path = model_directory / "chat_template.jinja";
  const std::filesystem::path config_path = model_directory / "tokenizer_config.json";
  Json config = Json::object();
  if (std::filesystem::exists(config_path)) {
    config = read_json_file(config_path);
    if (!config.is_object()) {
      fail(config_path.string(), "got {}, expected an object", config.type_name());
    }
  }
  auto impl = std::make_unique<Impl>();
  if (std::filesystem::exists(template_path)) {
    impl->source = read_text(template_path);
    impl->origin = template_path.string();
  } else if (auto embedded = embedded_template(config, config_path.string())) {
    impl->source = std::move(*embedded);
    impl->origin = config_path.string() + " chat_template";
  } else {
    return std::nullopt;
  }
  for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                           "cls_token", "mask_token"}) {
    const auto found = config.find(name);
    if (found == config.end()) {
      continue;
    }
    if (const std::optional<std::string> text = token_text(*found)) {
      impl->special_tokens.emplace_back(name, *text);
    }
  }
  return ChatTemplate(std::move(impl));
}

std::string ChatTemplate::render(const Json& messages, const ChatOptions& options) const {
  const std::string& origin = impl_->origin;
  check_messages(messages, origin);
  Json chat = Json::array();
  for (const Json& message : messages) {
    chat.push_back(alias_reasoning(message));
  }
  std::string final_text;
  if (options.continue_final_message) {
    if (chat.empty()) {
      fail(origin, "got no messages, expected one to continue");
    }
    final_text = mark_end(chat.back(), impl_->source, origin);
  }
  jinja::Runtime runtime(jinja::Limits{}, origin);
  std::vector<std::pair<std::string, jinja::Value>> variables;
  for (const auto& [name, token] : impl_->special_tokens) {
    variables.emplace_back(name, runtime.string(jinja::to_valid_utf8(token)));
  }
  variables.emplace_back("documents", jinja::Value());
  if (!options.variables.is_null()) {
    if (!options.variables.is_object()) {
      fail(origin, "got template variables of type {}, expected an object",
           options.variables.type_name());
    }
    for (const auto& [name, value] : options.variables.items()) {
      if (name == "messages" || name == "tools" || name == "add_generation_prompt") {
        fail(origin, "got a template variable '{}', expected another name: qx sets this one", name);
      }
      variables.emplace_back(name, jinja::from_json(runtime, value));
    }
  }
  variables.emplace_back("messages", jinja::from_json(runtime, chat));
  variables.emplace_back("tools", jinja::from_json(runtime, options.tools));
  variables.emplace_back(
      "add_generation_prompt",
      jinja::Value::boolean(options.add_generation_prompt && !options.continue_final_message));
  const std::string rendered = jinja::render(*impl_->parsed, runtime, variables);
  return options.continue_final_message ? cut_at_end(rendered, final_text, origin) : rendered;
}

const std::string& ChatTemplate::source() const {
  return impl_->source;
}

std::string ChatTemplate::hash() const {
  return sha256_hex(impl_->source);
}

bool ChatTemplate::has_thinking() const {
  return impl_->source.find("enable_thinking") != std::string::npos ||
         impl_->source.find("<think>") != std::string::npos;
}

}  // namespace qx
