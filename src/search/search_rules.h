// What a search may choose from, and what it must not exceed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/model_config.h"
#include "recipe/plan.h"
#include "tensor/dtype.h"

namespace qx {

// Which tensors get the same bits and group.
//   kNone    each its own
//   kInputs  those of a layer that read the same input: q k v, and gate up
//   kRoles   those of one role in all layers
enum class Alike { kNone, kInputs, kRoles };
std::string_view alike_name(Alike alike);  // "none", "inputs", "roles"

// A tensor whose name or module the pattern fits (as in recipes) has this width; the first that
// fits decides. It is free of min_bits, max_bits and bits, but not of groups, unless it says one.
struct KeepRule {
  std::string pattern;
  int bits = 0;   // 0: stays in float
  int group = 0;  // 0: any
};

struct SearchRules {
  int min_bits = 2, max_bits = 8;
  std::vector<int> bits;  // only these widths; empty: all between min and max
  std::vector<int> groups{32, 64, 128};
  std::vector<KeepRule> keep;
  int max_widths = 0;  // distinct widths of all quantized tensors; 0: any number
  Alike alike = Alike::kNone;
};

// "down_proj=6", "model.layers.0.*=float", "*lm_head=8/64". Fails: UsageError.
KeepRule parse_keep(std::string_view text);

// "80.9MB" or "1.2GiB" (bytes of all stored tensors), "4.6bpw" (bits per weight of the whole model,
// floats and scales included), "like:RECIPE" (the bytes of that recipe on this model), or a plain
// number of bytes.
// dtype: as in plan_of_recipe. Fails: UsageError, and as plan_of_recipe.
std::int64_t parse_budget(std::string_view text, const ModelConfig& config,
                          std::optional<DType> dtype);

// What a recipe makes of this model, with `dtype`, which all plans of a search have, for floats, scales and
// biases. option: how the recipe was asked for, such as "--compare f16". Fails: as make_plan; UsageError
// for a recipe that stores another type.
Plan plan_of_recipe(const std::string& option, const std::string& recipe, const ModelConfig& config,
                    std::optional<DType> dtype);

}  // namespace qx
