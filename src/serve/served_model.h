// A model with all that a server needs to answer with it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "constrain/token_constraint.h"
#include "model/model.h"
#include "serve/engine.h"
#include "serve/generation_task.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx {

struct ServedModel {
  // Loads tokenizer, template and weights. The pool must outlive it.
  // Fails: as Tokenizer::load, ChatTemplate::load and load_model.
  ServedModel(std::string the_name, const std::filesystem::path& directory, ThreadPool& pool,
              Precision precision, KvBits kv_bits);
  ServedModel(const ServedModel&) = delete;
  ServedModel& operator=(const ServedModel&) = delete;

  void start(ThreadPool& pool, ComputeTurn& turn, const EngineLimits& limits);

  const std::string name;  // that clients ask for
  const Tokenizer tokenizer;
  const std::optional<ChatTemplate> chat;
  const std::unique_ptr<Model> model;
  const std::shared_ptr<const VocabularyTree> vocabulary;
  const bool thinks;                       // has <think> and </think>
  const std::vector<TokenId> stop_tokens;  // that end an answer
  const std::vector<TokenId> xtc_exempt;   // that XTC never drops: newline and the end
  // No text of more bytes has so few tokens as a context holds.
  std::size_t longest_text() const;

  const std::size_t longest_token;           // in bytes
  std::unique_ptr<ServeEngine> engine = {};  // once started
};

}  // namespace qx
