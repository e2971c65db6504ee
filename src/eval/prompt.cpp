// Prompts of items.
// SPDX-License-Identifier: Apache-2.0
#include "eval/prompt.h"

#include "base/error.h"

namespace qx {

bool has_thinking_tokens(const Tokenizer& tokenizer) {
  constexpr std::string_view kMarks[][2] = {
      {"<think>", "</think>"},
      {"<longcat_think>", "</longcat_think>"},
      {"<|think:start|>", "<|think:end|>"},
      {"<|channel>", "<channel|>"},
  };
  for (const auto& [start, end] : kMarks) {
    if (tokenizer.id_of(start) && tokenizer.id_of(end)) return true;
  }
  return false;
}

Prompter::Prompter(const Tokenizer& tokenizer, const ChatTemplate* chat_template, PromptRules rules)
    : chat_template_(chat_template), rules_(std::move(rules)), encoder_(tokenizer, rules_.pair) {
  QX_CHECK(!rules_.pair.chat || chat_template != nullptr);
  if (rules_.template_variables.is_null()) rules_.template_variables = Json::object();
  if (!rules_.template_variables.contains("enable_thinking")) {
    rules_.template_variables["enable_thinking"] = has_thinking_tokens(tokenizer);
  }
}

std::string Prompter::render(const std::string& context) const {
  if (!rules_.pair.chat) return context;
  Json message;
  message["role"] = "user";
  message["content"] = context;
  ChatOptions options;
  options.variables = rules_.template_variables;
  return chat_template_->render(Json::array({message}), options);
}

std::vector<Prompt> Prompter::prompts(const DataItem& data) const {
  const TaskItem& item = data.item;
  const std::string delimiter = rules_.pair.chat ? "" : " ";
  std::vector<std::string> continuations;
  for (const std::string& text : item.continuations) continuations.push_back(delimiter + text);

  std::vector<Prompt> prompts;
  const bool shared = item.contexts.size() == 1;
  const std::size_t per_context = shared ? continuations.size() : 1;
  for (std::size_t c = 0; c < item.contexts.size(); ++c) {
    const std::string context = render(item.contexts[c]);
    const std::span<const std::string> mine =
        std::span<const std::string>(continuations).subspan(shared ? 0 : c, per_context);
    std::vector<EncodedPair> pairs = encoder_.encode(context, mine, data.place);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      prompts.push_back({context, mine[i], std::move(pairs[i])});
    }
  }
  return prompts;
}

Json prompts_json(std::string_view task, std::int64_t index, const std::vector<Prompt>& prompts) {
  Json json;
  json["task"] = task;
  json["index"] = index;
  json["choices"] = Json::array();
  for (const Prompt& prompt : prompts) {
    const EncodedPair& pair = prompt.pair;
    std::vector<TokenId> ids = pair.context;
    ids.insert(ids.end(), pair.continuation.begin(), pair.continuation.end());
    Json choice;
    choice["context"] = prompt.context;
    choice["continuation"] = prompt.continuation;
    choice["scored"] = {pair.context.size(), ids.size()};
    choice["ids"] = std::move(ids);
    if (pair.cut_tokens > 0) choice["cut_tokens"] = pair.cut_tokens;
    json["choices"].push_back(std::move(choice));
  }
  return json;
}

}  // namespace qx
