// What an evaluation would take.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "eval/eval_request.h"
#include "eval/scorer.h"

namespace qx {

// A time with its range: the sample's own spread, and at least kLeastError either way, since machines are
// rarely as quiet later as now.
struct TimeRange {
  double seconds = 0, low = 0, high = 0;
};
constexpr double kLeastError = 0.15;

struct TaskEstimate {
  const Task* task = nullptr;
  std::int64_t items = 0;     // that want an answer
  std::int64_t answered = 0;  // that the run folder holds already
  TokenCounts tokens;         // of those that want an answer
  TimeRange time;
};
struct ModelEstimate {
  EvalModel model;
  std::vector<TaskEstimate> tasks;
  TimeRange time;        // sum of the tasks'
  std::string conflict;  // why the run folder would be refused, or empty
};
struct EvalEstimate {
  std::vector<ModelEstimate> models;
  std::vector<DataUsed> data;
};

// The rate of each task is measured on this machine with `request`'s precision, on some of its own items from
// all over it, since the length of contexts matters. Nothing is written, except the prompts when asked for;
// run folders are only looked at. A model is loaded once, one at a time, and not at all when nothing is left
// to ask. Fails: as evaluate().
EvalEstimate estimate(const EvalRequest& request, ThreadPool& pool);

// From two samples of one task, in tokens and seconds, to the time of `tokens`. Public for its test.
TimeRange extrapolate(std::int64_t tokens, const std::int64_t sample_tokens[2],
                      const double sample_seconds[2]);

}  // namespace qx
