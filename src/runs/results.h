// From answers to accuracies with standard errors, in lm-eval's layout and as a table.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/json.h"
#include "runs/answer_log.h"
#include "tasks/task.h"

namespace qx {

// A mean of zeros and ones, and its standard error sqrt(p (1 - p) / (n - 1)); none when n == 1.
struct Accuracy {
  double mean = 0;
  std::optional<double> standard_error;
};

struct TaskResult {
  const Task* task = nullptr;
  std::int64_t n = 0;
  Accuracy acc;
  std::optional<Accuracy> acc_norm, acc_bytes, acc_token;  // where the task has acc_norm
  std::int64_t rows = 0;                                   // of the whole data file
  int shots = 0;
  std::int64_t cut_requests = 0;  // whose context was cut on the left to fit the model's context
};

// answers must not be empty.
TaskResult summarize(const Task& task, std::span<const Answer> answers);

// {"alias","sample_len","acc,none","acc_stderr,none",..}: lm-eval's entry of one task.
Json task_result_json(const TaskResult& result);

// lm-eval's results file as far as it applies: "results", "versions", "n-shot", "higher_is_better",
// "n-samples", and "truncated_requests".
Json results_json(std::span<const TaskResult> results);

struct NamedResults {
  std::string name;
  std::vector<TaskResult> results;
};
// Rows are tasks, and within a task the models; all models have the same tasks.
std::string results_table(std::span<const NamedResults> models);

}  // namespace qx
