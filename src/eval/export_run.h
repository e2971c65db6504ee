// A run in lm-eval's layout: samples_TASK.jsonl and results.json (docs/interchange.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/recorded_run.h"
#include "io/json.h"

namespace qx {

struct ExportRequest {
  std::filesystem::path target;                      // a folder; made when it is missing
  std::optional<std::filesystem::path> data, model;  // instead of what run.json says
  // True: samples_TASK_TIME.jsonl and results_TIME.json, as lm-eval names them, TIME that of the run's end.
  // False: samples_TASK.jsonl only.
  bool with_time = true;
  bool force = false;  // replace files
};

// Names of the files written. No weights are read: the prompts come from tokenizer and template, the numbers
// from the log. Fails: Error when the model's files or a row of the data are not those of the run; when the
// run was imported.
std::vector<std::filesystem::path> export_run(const RecordedRun& run, const ExportRequest& request);

// lm-eval's results file of a run.
Json lm_eval_results(const RecordedRun& run);

}  // namespace qx
