// A rank that answers windows of items for the leader.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "cluster/communicator.h"
#include "eval/asker.h"
#include "eval/eval_request.h"

namespace qx {

// What a worker answers from. All of it outlives the worker.
struct WorkerTexts {
  const EvalRequest* request = nullptr;
  const std::vector<TaskData>* data = nullptr;
  std::vector<const Asker*> askers;  // one per model
};

// Answers the windows that rank 0 of `team` hands out, until it says stop. One model is loaded at a time.
// Fails: Error, Interrupted.
void answer_windows(Communicator& team, const WorkerTexts& texts, ThreadPool& pool);

// A rank above 0 of an evaluation: reads models and data itself, says hello, answers windows.
// Fails: as evaluate().
void serve_evaluation(const EvalRequest& request, ThreadPool& pool, Communicator& team);

// Runs `work` as a rank above 0: what it throws goes to rank 0 as its failure; then waits until rank 0 says
// stop. Never throws.
void run_as_rank(Communicator& team, const std::function<void()>& work);

}  // namespace qx
