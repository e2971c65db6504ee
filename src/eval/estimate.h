// What an evaluation would take.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "eval/eval_request.h"
#include "eval/scorer.h"

namespace qx {

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

// Nothing is written, except the prompts when asked for. Each model is loaded once, one at a time.
// Fails: as evaluate().
EvalEstimate estimate(const EvalRequest& request, ThreadPool& pool);

}  // namespace qx
