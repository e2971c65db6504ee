// What one evaluation asks: several models over the same items, each into its run folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/pair_encoding.h"
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
  std::optional<bool> chat;              // absent: chat when the model has a template
  std::optional<Convention> convention;  // absent: mlx-lm in chat mode, lm-eval in plain mode
  Json template_variables;               // object or null
  Precision precision = Precision::kExact;
  KvBits kv_bits = KvBits::k32;
  bool write_prompts = false, quiet = false;
  OpenRun how = OpenRun::kNewOrContinue;
};

// The rows of every task, in the order of request.tasks. Fails: Error.
std::vector<TaskData> load_data(const EvalRequest& request);

struct DataUsed {
  std::string task, origin, file, hash;
  std::int64_t items = 0, rows = 0;
};
std::vector<DataUsed> data_used(const std::vector<TaskData>& data);

}  // namespace qx
