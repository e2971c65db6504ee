// What one evaluation asks: several models over the same items, each into its run folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/pair_encoding.h"
#include "eval/scorer.h"
#include "io/json.h"
#include "model/model.h"
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
  Selection rows;
  std::optional<bool> chat;                    // absent: chat when the model has a template
  std::optional<Convention> convention;        // absent: mlx-lm in chat mode, lm-eval in plain mode
  Json template_variables;                     // object or null
  int shots = 0;                               // few-shot examples before each question
  std::optional<std::uint64_t> few_shot_seed;  // absent: that of the convention's program
  // Examples as turns of their own in chat mode. Absent: lm-eval does so, mlx-lm does not.
  std::optional<bool> multiturn;
  Precision precision = Precision::kExact;
  KvBits kv_bits = KvBits::k32;
  PassRules pass = {};  // no answer depends on it
  int ranks = 1;        // processes that answer, for run.json
  bool write_prompts = false, quiet = false;
  OpenRun how = OpenRun::kNewOrContinue;
};

// Whether the settings go together. Fails: UsageError.
void check_request(const EvalRequest& request);

// What examples are drawn with. One seed for all models, so that they are asked the same. Fails: UsageError
// when the models' conventions differ and no seed is given.
FewShot few_shot_of(const EvalRequest& request);

// The rows of every task with their examples, in the order of request.tasks. Fails: Error, UsageError.
std::vector<TaskData> load_data(const EvalRequest& request);

struct DataUsed {
  std::string task, origin, file, hash;
  std::int64_t items = 0, rows = 0;
};
std::vector<DataUsed> data_used(const std::vector<TaskData>& data);

}  // namespace qx
