// Applies a recipe to a model's tensors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "recipe/plan.h"
#include "recipe/recipe.h"

namespace qx {

struct ResolveOptions {
  DType dtype = DType::kBF16;
  bool tied_head = false;  // embed_tokens serves as the head
};

// The order of decisions is mlx-lm's: norms and biases stay in float; a tensor whose input dimension
// the global group does not divide stays in float whatever the rules say; then the first rule that
// fits, else the default; then floors; then the chosen group must divide too. Lint goes to warnings.
Plan resolve_plan(const Recipe& recipe, const std::vector<CatalogTensor>& catalog,
                  const ResolveOptions& options);

// The row of a tensor stored as `spec` (nothing: float), with its exact bytes.
PlanRow make_row(const CatalogTensor& tensor, std::optional<AffineSpec> spec, DType dtype,
                 std::string rule);

// Fills parameters, tensor_bytes, bits_per_weight and quantizes from the rows.
void finish_plan(Plan& plan);

// Warns of a router below 8 bits and of a tied head at 2 or 3.
void warn_of_thin_tensors(Plan& plan, bool tied_head);

}  // namespace qx
