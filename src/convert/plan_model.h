// What a recipe makes of a model that a user names, before anything is written: `qx plan`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "arch/model_config.h"
#include "io/json.h"
#include "recipe/plan.h"
#include "recipe/summary.h"

namespace qx {

struct ModelPlanRequest {
  std::string model;  // what resolve_model takes, a .gguf file, or a bare config.json
  PlanRequest plan;
  std::int64_t context = 0;  // positions, for the memory to run; 0: kDefaultContext or the model's
  int kv_bits = 32;          // of the keys and values, for the same
  std::int64_t memory_limit = 0;  // bytes that it should fit in; 0: not asked
};

struct ModelPlan {
  std::string name;  // of the file or directory
  ModelConfig config;
  Plan plan;
  MemoryNeeds needs;
  std::int64_t context = 0, memory_limit = 0;
  int kv_bits = 32;
};

// Reads no weights. Fails: as resolve_model, load_model_config and make_plan; UsageError unless the
// request names one of recipe and like_directory.
ModelPlan plan_model(const ModelPlanRequest& request);

// The document of `qx plan --json`: plan_json and "memory".
Json model_plan_json(const ModelPlan& planned);

}  // namespace qx
