// One model's share of an evaluation: what it is asked, its run folder, and which items still want an answer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "eval/asker.h"
#include "eval/eval_request.h"
#include "runs/answer_log.h"
#include "runs/run_folder.h"

namespace qx {

// run.json without its times: everything that the answers depend on, and what they were made with.
Json run_json(const Asker& asker, const std::vector<TaskData>& data, const EvalRequest& request,
              int threads);

// The answers that a log holds must be answers to these items. file: for messages. Fails: Error.
void check_answers(const AnswerLog& log, const TaskData& data, const std::string& file);

// Gives answers of a version that knew no clusters the one that their item has, so that a log never
// holds both kinds. After check_answers(). Fails: Error.
void complete_clusters(AnswerLog& log, const TaskData& data);

// Everything of one model that is known before its weights are loaded.
class ModelRun {
 public:
  // Reads the model's texts and measures and hashes its files. Fails: Error, UsageError.
  ModelRun(const EvalModel& model, const std::vector<TaskData>& data, const EvalRequest& request,
           int threads);

  // Opens the folder, and the log of each task; what they hold is kept. Fails: Error.
  void open(const std::vector<TaskData>& data, const EvalRequest& request);

  const Asker& asker() const { return asker_; }
  const Json& run() const { return run_; }  // run.json's content, without times
  RunFolder& folder() { return *folder_; }
  AnswerLog& log(std::size_t task) { return *logs_[task]; }
  std::int64_t unanswered() const { return unanswered_; }  // when it was opened, over all tasks

 private:
  Asker asker_;
  Json run_;
  std::unique_ptr<RunFolder> folder_;
  std::vector<std::unique_ptr<AnswerLog>> logs_;  // one per task
  std::int64_t unanswered_ = 0;
};

}  // namespace qx
