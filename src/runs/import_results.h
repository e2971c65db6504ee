// Others' results as run folders: lm-eval's sample and result files, mlx_lm.evaluate's result files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/json.h"

namespace qx {

struct ImportRequest {
  std::vector<std::filesystem::path> paths;  // files, or folders that hold such files
  std::filesystem::path target;              // RUNS/NAME
  bool force = false;                        // replace the target
};

struct ImportedTask {
  std::string task;
  std::int64_t items = 0;
  bool per_item = false;  // false: only its accuracy is known
};

struct ImportOutcome {
  std::vector<ImportedTask> tasks;
  std::vector<std::string> notes;  // what is unknown, left out or odd
};

// Writes target: run.json with what is known (null: unknown; "imported_from" names the files), results.json,
// and where samples were given answers-TASK.jsonl and prompts-TASK.jsonl. Whole or absent. A results file
// that lies beside sample files and has their time is read unasked.
// Fails: Error for a file that is none of these, broken, or says otherwise than another; two files of one
// task; an existing target without force.
ImportOutcome import_run(const ImportRequest& request);

// Parses text of a result file of either program; for fuzzing and tests. {"program", "results",
// "results_file": the document, or null}. name: of the file, since mlx_lm.evaluate keeps facts there.
// Fails: Error.
struct ResultFile {
  bool from_mlx_lm = false;
  Json results = Json::object();  // by task: {"acc,none", "sample_len", ..}
  Json document;                  // all of lm-eval's file
  std::string model, version;     // of mlx_lm.evaluate's file name
  Json shots;                     // null: not said
};
ResultFile parse_result_file(std::string_view text, const std::string& name,
                             const std::string& place);

}  // namespace qx
