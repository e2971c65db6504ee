// SPDX-License-Identifier: Apache-2.0
#include "eval/asker.h"

#include <algorithm>

#include "base/error.h"

namespace qx {

std::int64_t count_cut(std::span<const EncodedItem> items) {
  std::int64_t cut = 0;
  for (const EncodedItem& item : items) {
    cut += std::count_if(item.pairs.begin(), item.pairs.end(),
                         [](const EncodedPair& pair) { return pair.cut_tokens > 0; });
  }
  return cut;
}

Asker::Asker(const EvalModel& model, const EvalRequest& request)
    : model_(model), chat_template_(ChatTemplate::load(model.directory)) {
  rules_.chat = request.chat.value_or(chat_template_.has_value());
  if (rules_.chat && !chat_template_) {
    throw UsageError(fmt::format("--chat: {} has no chat template; leave it out or say --plain",
                                 model.directory.string()));
  }
  rules_.convention =
      request.convention.value_or(rules_.chat ? Convention::kMlxLm : Convention::kLmEval);
  multiturn_ = request.multiturn.value_or(rules_.convention == Convention::kLmEval);
  rules_.max_length = load_model_config(model.directory).max_position_embeddings;
  tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::load(model.directory));
  prompter_ =
      std::make_unique<Prompter>(*tokenizer_, chat_template_ ? &*chat_template_ : nullptr,
                                 PromptRules{rules_, request.template_variables, multiturn_});
}

Json Asker::template_hash() const {
  return rules_.chat ? Json(chat_template_->hash()) : Json();
}

Json Asker::template_variables() const {
  return rules_.chat ? prompter_->template_variables() : Json();
}

std::vector<EncodedItem> Asker::encode(const Task& task, std::span<const DataItem> items,
                                       ThreadPool& pool, std::string* prompt_lines) const {
  std::vector<EncodedItem> encoded(items.size());
  std::vector<std::string> lines(prompt_lines != nullptr ? items.size() : 0);
  pool.parallel_for(items.size(), 16, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) {
      std::vector<Prompt> prompts = prompter_->prompts(task, items[i]);
      if (prompt_lines != nullptr) {
        lines[i] = prompts_json(task.name, items[i].index, prompts).dump() + '\n';
      }
      encoded[i].data = &items[i];
      for (Prompt& prompt : prompts) encoded[i].pairs.push_back(std::move(prompt.pair));
    }
  });
  for (const std::string& line : lines) *prompt_lines += line;
  return encoded;
}

}  // namespace qx
