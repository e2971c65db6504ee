// Prompts of items.
// SPDX-License-Identifier: Apache-2.0
#include "eval/prompt.h"

#include "base/error.h"

namespace qx {
namespace {

// A part of a prompt. In plain mode, and in one joined turn, `after` follows the content.
struct Turn {
  const char* role;
  std::string content, after;
};

// A continuation that is the same for all choices, or the only one, may be empty; the reference then leaves
// the answer out, together with what would stand around it.
void add_example(std::vector<Turn>& turns, const Task& task, const TaskItem& example) {
  const auto gold = static_cast<std::size_t>(example.gold);
  const std::string& answer = example.continuations[gold];
  const bool has_answer =
      !answer.empty() || (example.contexts.size() == 1 && example.continuations.size() > 1);
  turns.push_back({"user", example.context_of(gold), has_answer ? task.delimiter : ""});
  if (has_answer) turns.push_back({"assistant", answer, task.example_delimiter});
}

std::string joined(const std::vector<Turn>& turns, std::size_t first) {
  std::string text;
  for (std::size_t i = first; i < turns.size(); ++i) text += turns[i].content + turns[i].after;
  return text;
}

}  // namespace

Prompter::Prompter(const Tokenizer& tokenizer, const ChatTemplate* chat_template, PromptRules rules)
    : chat_template_(chat_template), rules_(std::move(rules)), encoder_(tokenizer, rules_.pair) {
  QX_CHECK(!rules_.pair.chat || chat_template != nullptr);
  if (rules_.template_variables.is_null()) rules_.template_variables = Json::object();
  if (!rules_.template_variables.contains("enable_thinking")) {
    rules_.template_variables["enable_thinking"] = has_thinking_tokens(tokenizer);
  }
}

std::string Prompter::render(const Task& task, const DataItem& data,
                             const std::string& context) const {
  std::vector<Turn> turns;
  if (!data.item.header.empty()) turns.push_back({"system", data.item.header, ""});
  for (const auto& example : data.examples) add_example(turns, task, *example);
  turns.push_back({"user", context, ""});
  if (!rules_.pair.chat) return joined(turns, 0);

  Json messages = Json::array();
  const auto add = [&messages](const char* role, const std::string& content) {
    Json message;
    message["role"] = role;
    message["content"] = content;
    messages.push_back(std::move(message));
  };
  if (rules_.multiturn) {
    for (const Turn& turn : turns) add(turn.role, turn.content);
  } else {
    const bool has_header = !data.item.header.empty();
    if (has_header) add("system", turns[0].content);
    add("user", joined(turns, has_header ? 1 : 0));
  }
  ChatOptions options;
  options.variables = rules_.template_variables;
  return chat_template_->render(messages, options);
}

std::vector<Prompt> Prompter::prompts(const Task& task, const DataItem& data) const {
  const TaskItem& item = data.item;
  // The continuation of a cloze question holds its own space, in chat mode too, as the reference has it.
  const std::string delimiter = rules_.pair.chat || task.cloze ? "" : task.delimiter;
  std::vector<std::string> continuations;
  for (const std::string& text : item.continuations) continuations.push_back(delimiter + text);

  std::vector<Prompt> prompts;
  const bool shared = item.contexts.size() == 1;
  const std::size_t per_context = shared ? continuations.size() : 1;
  for (std::size_t c = 0; c < item.contexts.size(); ++c) {
    const std::string context = render(task, data, item.contexts[c]);
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
