// What an evaluation says about itself as data.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "eval/evaluate.h"
#include "io/json.h"

namespace qx {

// {TASK: {"data", "origin", "data_hash", "items", "rows"}}
Json data_used_json(const std::vector<DataUsed>& data);

// The document of `qx eval --json`: "data", and of each model under "models" its results
// (results_json), "folder" and "run".
Json outcome_json(const EvalOutcome& outcome);

}  // namespace qx
