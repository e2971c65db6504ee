// The progress of an evaluation: overall, and of the task at hand with its accuracy so far.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/progress.h"

namespace qx {

// What is known of one model's answers to one task.
struct TaskState {
  std::string model, task;
  std::int64_t items = 0, answered = 0;      // answered: earlier sessions included
  std::int64_t right = 0;                    // of the answered, by acc
  std::int64_t tokens = 0, tokens_left = 0;  // of this session
  std::int64_t answered_now = 0;             // in this session
};

// "acc 61.3 % (54.6 to 67.6)": with the 95 % interval of Wilson. Nothing answered: "".
std::string accuracy_text(std::int64_t right, std::int64_t answered);

// "q4-hi arc_easy 212/300, 39.8 items/s, 4890 tokens/s, 0:03 left, acc 61.3 % (54.6 to 67.6)". seconds: since
// the task was begun in this session.
std::string task_text(const TaskState& state, double seconds);

class EvalProgress {
 public:
  EvalProgress(std::int64_t items, std::int64_t tokens, bool quiet);

  // After an answer of `tokens` tokens, which `state` counts already.
  void answered(const TaskState& state, std::int64_t tokens);
  // The last answer of a task has come.
  void finished(const TaskState& state);
  void say(std::string_view line) { progress_.print(line); }

 private:
  using Clock = std::chrono::steady_clock;
  Progress progress_;
  std::string shown_;  // model and task
  Clock::time_point last_ = Clock::now(), begun_ = last_;
};

}  // namespace qx
