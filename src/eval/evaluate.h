// One evaluation: several models over the same items, each into its run folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "base/thread_pool.h"
#include "eval/eval_request.h"
#include "io/json.h"
#include "runs/results.h"

namespace qx {

// What one model was asked and what it answered.
struct ModelOutcome {
  EvalModel model;
  std::filesystem::path folder;
  Json run;  // run.json's content, without times
  std::vector<TaskResult> results;
};

struct EvalOutcome {
  std::vector<ModelOutcome> models;
  std::vector<DataUsed> data;
};

// Checks everything that can be checked before the first model is loaded: data, models, templates, folders.
// Answers that the folders hold already are kept. Fails: Error, UsageError (--chat without a template),
// Interrupted; what was answered until then is in the folders.
EvalOutcome evaluate(const EvalRequest& request, ThreadPool& pool);

}  // namespace qx
