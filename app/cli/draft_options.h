// --draft-model, --num-draft-tokens and --prompt-lookup, for every verb that makes texts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "generate/draft.h"
#include "io/json.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace qx::cli {

struct DraftOptions {
  std::string model;
  std::int64_t model_tokens = 3, lookup_tokens = 0;

  bool wanted() const { return !model.empty() || lookup_tokens > 0; }
};
void add_draft_options(CLI::App& verb, DraftOptions& options);

// What is loaded for them, and what it drafts for.
struct DraftTarget {
  const char* verb;
  std::filesystem::path directory;
  std::int64_t context = 0;  // positions of each text
  std::int64_t texts = 1;    // at once
  KvBits kv_bits = KvBits::k32;
  bool allow_swap = false;
};
// Null without --draft-model. Always in `fast` precision: a guess needs no exact arithmetic.
// Fails: Error when the tokenizers differ (check_draft_tokenizer), or both models do not fit in
// memory.
std::unique_ptr<Model> load_draft_model(const DraftOptions& options, const DraftTarget& target,
                                        const Tokenizer& tokenizer, ThreadPool& pool);
// What load_draft_model does but the loading, for a further target.
void check_draft_model(const DraftOptions& options, const DraftTarget& target,
                       const Tokenizer& tokenizer);
// Of a model that load_draft_model gave, or null. context: of the texts.
DrafterOptions drafter_options(const DraftOptions& options, Model* model, std::int64_t context);

// "42 of 60 guesses accepted (70.0 %), 3.1 tokens a pass"
std::string drafts_text(const Generation& generation);
// {"model", "num_draft_tokens", "prompt_lookup", "drafted", "accepted", "acceptance", "passes"}
Json drafts_json(const DraftOptions& options, const DraftCounts& counts);

}  // namespace qx::cli
