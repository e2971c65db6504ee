// From a recipe's name or file and a model's tensors to bits per tensor, with the rule that decided each.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/catalog.h"
#include "io/json.h"
#include "quant/affine.h"

namespace qx {

struct PlanRow {
  CatalogTensor tensor;
  std::optional<AffineSpec> affine;  // nothing: kept in float as `dtype`
  DType dtype = DType::kBF16;        // of the float tensor, or of scales and biases
  std::int64_t bytes = 0;            // codes + scales + biases, or float values
  std::string rule;                  // "qx63-hi: attention in every fourth layer"
};

struct Plan {
  std::string recipe;  // name, or file name
  AffineSpec default_spec;           // the global entry of config.json
  bool quantizes = false;            // false for bf16 f16 f32
  std::vector<PlanRow> rows;         // in catalog order
  std::int64_t parameters = 0;       // logical weights
  std::int64_t tensor_bytes = 0;     // exact sum over all stored tensors
  double bits_per_weight = 0;        // 8 * tensor_bytes / parameters
  std::vector<std::string> warnings; // lint
  std::string plan_hash() const;     // SHA-256 of the canonical JSON list of (name, bits, group_size, mode)
};

struct PlanRequest {
  std::string recipe;                 // a name, or a path to a recipe file
  std::optional<int> group_size;      // overrides the recipe's, where the recipe allows it
  std::optional<DType> dtype;         // --dtype; else the config's, else bfloat16
  std::string like_directory;         // --like DIR: take that directory's own map instead
};

// Fails: Error for an unknown recipe (with the known ones), a broken recipe file (with its line).
Plan make_plan(const ModelConfig& config, const PlanRequest& request);

// The `quantization` object of config.json for this plan, as mlx-lm writes it: group_size, bits, mode
// and one entry per module that differs from the global values, and per module the predicate named.
Json quantization_json(const Plan& plan);

Json plan_json(const Plan& plan, const ModelConfig& config);  // `qx plan --json`, spec in docs/cli.md

}  // namespace qx
