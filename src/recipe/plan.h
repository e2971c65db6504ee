// From a recipe's name or file and a model's tensors to bits per tensor, with the rule that decided
// each. Nothing here touches weights. The recipe format is docs/recipes.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
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
  std::string rule;                  // "qx63-hi: attention of every fourth and of the last layer"
  bool named =
      false;  // a rule named it, so config.json lists it (mlx-lm: the predicate gave a dict)
};

struct Plan {
  std::string recipe;                 // name, or "like NAME"
  AffineSpec default_spec;            // the global entry of config.json
  bool quantizes = false;             // false for bf16 f16 f32
  std::vector<PlanRow> rows;          // in catalog order
  std::int64_t parameters = 0;        // logical weights
  std::int64_t tensor_bytes = 0;      // exact sum over all stored tensors
  double bits_per_weight = 0;         // 8 * tensor_bytes / parameters
  std::vector<std::string> warnings;  // lint
  std::string plan_hash() const;      // storage_hash(storage_rows(*this))
};

struct PlanRequest {
  std::string recipe;             // a name, or a path to a recipe file
  std::optional<int> group_size;  // instead of the recipe's; not with -hi or a float recipe
  std::optional<DType> dtype;     // --dtype; else the recipe's, the config's, bfloat16
  std::string like_directory;     // --like DIR: that directory's own map; recipe is then empty
};

// Fails: UsageError for an unknown recipe (with the known ones), values it does not take, or options
// that contradict it; Error for a broken recipe file (with its line or key).
Plan make_plan(const ModelConfig& config, const PlanRequest& request);

// The `quantization` object of config.json for this plan, as mlx-lm writes it: group_size, bits, mode
// and one entry for each module that a rule named or that differs from the global values. Never a
// null inside. Null when the plan quantizes nothing.
Json quantization_json(const Plan& plan);

// `qx plan --json`: model_type, parameters, tensor_bytes, bits_per_weight, recipe, plan_hash, dtype,
// quantization, tensors [{name, shape, bits, group_size, mode, bytes, rule}], warnings.
Json plan_json(const Plan& plan, const ModelConfig& config);

// One stored tensor as plans and inspections print it.
struct StorageRow {
  std::string name;
  Shape shape;                    // logical
  int bits = 0;                   // of a code, or of a float value (16, 32)
  std::optional<int> group_size;  // nothing for float
  std::string mode;               // "float", "affine", "mxfp4", ..
  std::int64_t bytes = 0;
  std::string rule;
};
std::vector<StorageRow> storage_rows(const Plan& plan);
Json storage_json(std::span<const StorageRow> rows);  // the "tensors" list

// SHA-256, in hexadecimal, of the JSON list [["name",bits,group_size,"mode"],..] of the rows in
// their order, written without spaces and without escapes beyond those JSON requires.
std::string storage_hash(std::span<const StorageRow> rows);

}  // namespace qx
