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

class RankTeam;  // eval/leader.h

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

// Checks everything that can be checked before the first model is loaded: data, models, templates, folders,
// and every prompt. Answers that the folders hold already are kept.
// team: the other processes that answer (eval/worker.h), which this one, rank 0, leads; null when there are
// none.
// Fails: Error, UsageError (--chat without a template), Interrupted; what was answered until then is in the
// folders.
EvalOutcome evaluate(const EvalRequest& request, ThreadPool& pool, RankTeam* team = nullptr);

}  // namespace qx
