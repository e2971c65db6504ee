// The parts of the extension module qx._qx, and what they share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "generate/generate.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx::python {

// A model with the threads that compute it. Whoever uses `model` holds `mutex`, and takes it
// without the GIL: one caller at a time.
struct LoadedModel {
  std::filesystem::path directory;
  Precision precision = Precision::kExact;
  KvBits kv_bits = KvBits::k32;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Model> model;
  std::mutex mutex;
};

// Keys and values that outlive one text.
struct PromptCache {
  std::shared_ptr<LoadedModel> owner;
  std::unique_ptr<KeptSequence> kept;
  bool in_use = false;  // by a text that is not finished. Guarded by the GIL
};

// A tokenizer with the chat template beside it.
struct ModelTokenizer {
  std::filesystem::path directory;
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat;
  std::once_flag vocabulary_once;
  std::shared_ptr<const VocabularyTree> vocabulary;  // for JSON schemas, made when first asked for

  const std::shared_ptr<const VocabularyTree>& vocabulary_tree();
};

// Fail: UsageError.
Precision precision_of(const std::string& name);
KvBits kv_bits_of(int bits);

// The pool for a call; threads 0: physical cores. Fails: UsageError.
std::unique_ptr<ThreadPool> make_pool(int threads);

void bind_text(nanobind::module_& m);
void bind_model(nanobind::module_& m);
void bind_generate(nanobind::module_& m);
void bind_verbs(nanobind::module_& m);

}  // namespace qx::python
