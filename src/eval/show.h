// One answered item in full: what was asked, token by token, and how each metric judged it (`qx show`).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "eval/recorded_run.h"
#include "eval/scorer.h"
#include "io/json.h"
#include "model/model.h"

namespace qx {

struct ShownToken {
  TokenId id = 0, best = 0;              // best: the first of the largest logits at this place
  double logprob = 0, best_logprob = 0;  // natural log
  std::string text, best_text;           // the bytes that they stand for
};

struct ShownChoice {
  std::optional<std::string> text;                   // as in the data, without delimiter
  std::optional<std::string> context, continuation;  // as given to the tokenizer
  std::vector<TokenId> ids;                          // context, then what is scored; empty: unknown
  std::vector<std::string> id_texts;                 // their bytes; empty without a tokenizer
  std::int64_t scored_begin = 0;                     // ids from here on are scored
  std::int64_t cut_tokens = 0;                       // taken from the context's left to fit
  std::vector<ShownToken> scored;                    // of a recomputation
  ChoiceAnswer logged;
  std::optional<ChoiceAnswer> now;  // recomputed

  const ChoiceAnswer& answer() const { return now ? *now : logged; }
};

struct ShownItem {
  Answer logged;
  std::string place;  // "file:line" of the row; "" without the data
  Json row;           // null without the data
  std::vector<ShownChoice> choices;
  bool recomputed = false;
  bool equal = false;  // recomputed, and every number is the logged one to the bit
  std::vector<std::string> notes, missing;  // what to know; what could not be shown and why

  std::vector<ChoiceAnswer> answers() const;  // recomputed where that was possible
};

struct ShowOptions {
  std::optional<std::filesystem::path> data, model;  // instead of what run.json says
  bool use_model = true;                             // false: only what files hold
};

// Shows items of one task of a run. run and pool must outlive it.
class ItemViewer {
 public:
  // What is gone (model, data) is told in ShownItem::missing. Fails: Error when the model's files are not
  // those of the run, or when what the options name cannot be read.
  ItemViewer(const RecordedRun& run, std::string task, const ShowOptions& options,
             ThreadPool& pool);

  // The model is loaded for the first item. Fails: Error when the item's row changed since the run.
  ShownItem show(const Answer& answer);
  // Where the model lies that would be loaded; empty: none will be.
  const std::filesystem::path& model_directory() const { return directory_; }

 private:
  void open_data(const ShowOptions& options);
  void open_model(const ShowOptions& options);
  void add_kept_prompts(ShownItem& shown) const;
  void recompute(ShownItem& shown, const DataItem& item);
  void add_best(ShownItem& shown, const std::vector<EncodedPair>& pairs);
  void explain_difference(ShownItem& shown) const;

  const RecordedRun& run_;
  std::string task_;
  ThreadPool& pool_;
  std::filesystem::path directory_;
  std::unique_ptr<RecordedData> data_;
  std::unique_ptr<RecordedPrompter> prompter_;
  std::unique_ptr<Model> model_;
  std::map<std::int64_t, std::vector<KeptChoice>> kept_;
  std::vector<std::string> missing_;
};

// How the run was asked, in one line.
std::string conditions_text(const RecordedRun& run);

struct TextStyle {
  int width = 100;      // columns
  bool colour = false;  // ANSI colours
};
std::string shown_text(const RecordedRun& run, const ShownItem& item, const TextStyle& style);
Json shown_json(const RecordedRun& run, const ShownItem& item);

}  // namespace qx
