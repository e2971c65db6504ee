// From a model's texts (tokenizer, template, context length) and data rows to encoded items: everything
// about asking a model that needs none of its weights.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "eval/eval_request.h"
#include "eval/prompt.h"
#include "text/chat_template.h"

namespace qx {

// An item as a model is asked it.
struct EncodedItem {
  const DataItem* data = nullptr;
  std::vector<EncodedPair> pairs;  // one per choice
};

// How many of their choices' contexts were cut on the left.
std::int64_t count_cut(std::span<const EncodedItem> items);

// Threads: const members may be called from any thread.
class Asker {
 public:
  // Reads the model's texts. Fails: Error; UsageError for --chat without a template.
  Asker(const EvalModel& model, const EvalRequest& request);
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;

  const EvalModel& model() const { return model_; }
  const PairRules& rules() const { return rules_; }
  // Null in plain mode: the hash of the template, and the variables it gets.
  Json template_hash() const;
  Json template_variables() const;
  bool multiturn() const { return multiturn_; }  // of few-shot examples in chat mode

  // Encodes items of one task on the pool. prompt_lines, when not null, gets one line an item, as
  // --write-prompts writes them. items must outlive the result. Fails: Error at an item's place.
  std::vector<EncodedItem> encode(const Task& task, std::span<const DataItem> items,
                                  ThreadPool& pool, std::string* prompt_lines = nullptr) const;

 private:
  EvalModel model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  PairRules rules_;
  bool multiturn_ = false;
  std::unique_ptr<Prompter> prompter_;
};

}  // namespace qx
