// What a model is asked for one item: header and examples put before it, the chat template and the delimiter
// applied, tokens encoded.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/pair_encoding.h"
#include "io/json.h"
#include "tasks/dataset.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx {

struct PromptRules {
  PairRules pair;           // pair.chat: apply the template, score choices without a leading space
  Json template_variables;  // further variables of the template, an object or null
  // In chat mode: every example is a turn of the user and one of the assistant, instead of all examples and
  // the question in one turn of the user.
  bool multiturn = false;
};

// One choice as it is scored.
struct Prompt {
  std::string context, continuation;  // as encoded: template applied, delimiter included
  EncodedPair pair;
};

// Threads: const members may be called from any thread. Tokenizer and template must outlive it.
class Prompter {
 public:
  // chat_template may be null unless rules.pair.chat.
  Prompter(const Tokenizer& tokenizer, const ChatTemplate* chat_template, PromptRules rules);

  // One prompt per choice, put together as lm-eval does it (fewshot_context, build_qa_turn and
  // construct_requests in lm_eval/api/task.py). Fails: Error at the item's place.
  std::vector<Prompt> prompts(const Task& task, const DataItem& item) const;

  // The variables that the template gets: those given, and enable_thinking as mlx-lm sets it.
  const Json& template_variables() const { return rules_.template_variables; }

 private:
  std::string render(const Task& task, const DataItem& data, const std::string& context) const;

  const ChatTemplate* chat_template_;
  PromptRules rules_;
  PairEncoder encoder_;
};

// {"task","index","choices":[{"context","continuation","ids","scored":[begin,end]},..]}: what
// `--write-prompts` writes; ids[begin, end) are scored.
Json prompts_json(std::string_view task, std::int64_t index, const std::vector<Prompt>& prompts);

}  // namespace qx
