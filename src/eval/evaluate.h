// One evaluation: several models over the same items, each into its run folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "eval/pair_encoding.h"
#include "eval/scorer.h"
#include "io/json.h"
#include "model/model.h"
#include "runs/results.h"
#include "runs/run_folder.h"
#include "tasks/dataset.h"

namespace qx {

struct EvalModel {
  std::string name;  // of the folder under RUNS
  std::filesystem::path directory;
};

struct EvalRequest {
  std::vector<EvalModel> models;
  std::vector<const Task*> tasks;
  std::filesystem::path runs;
  std::optional<std::filesystem::path> data_directory;
  RowSelection rows;
  std::optional<bool> chat;              // absent: chat when the model has a template
  std::optional<Convention> convention;  // absent: mlx-lm in chat mode, lm-eval in plain mode
  Json template_variables;               // object or null
  Precision precision = Precision::kExact;
  KvBits kv_bits = KvBits::k32;
  bool write_prompts = false, quiet = false;
  OpenRun how = OpenRun::kNewOrContinue;
};

// What one model was asked and what it answered.
struct ModelOutcome {
  EvalModel model;
  std::filesystem::path folder;
  Json run;  // run.json's content, without times
  std::vector<TaskResult> results;
};

struct DataUsed {
  std::string task, origin, file, hash;
  std::int64_t items = 0, rows = 0;
};

struct EvalOutcome {
  std::vector<ModelOutcome> models;
  std::vector<DataUsed> data;
};

// Checks everything that can be checked before the first model is loaded: data, models, templates, folders.
// Answers that the folders hold already are kept. Fails: Error, UsageError (--chat without a template),
// Interrupted; what was answered until then is in the folders.
EvalOutcome evaluate(const EvalRequest& request, ThreadPool& pool);

// What an evaluation would take. Nothing is written, except the prompts when asked for.
struct TaskEstimate {
  const Task* task = nullptr;
  std::int64_t items = 0;
  TokenCounts tokens;
};
struct ModelEstimate {
  EvalModel model;
  std::vector<TaskEstimate> tasks;
  double seconds = 0;  // from a short run on this machine
};
struct EvalEstimate {
  std::vector<ModelEstimate> models;
  std::vector<DataUsed> data;
};
EvalEstimate estimate(const EvalRequest& request, ThreadPool& pool);

// Answers the items with a model that is loaded already, in windows of items. Calls on_answer as items are
// done: within a window in any order.
struct EncodedItem {
  const DataItem* data = nullptr;
  std::vector<EncodedPair> pairs;  // one per choice
};
void answer_items(Model& model, const Task& task, std::span<const EncodedItem> items,
                  const PassRules& rules, const std::function<void(Answer)>& on_answer);

}  // namespace qx
