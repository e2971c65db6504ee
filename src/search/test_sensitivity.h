// A sensitivity file made up for a model: costs that fall with bits and rise with groups, larger
// for some tensors than others. For tests only.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string>

#include "arch/catalog.h"
#include "base/random.h"
#include "recipe/plan.h"
#include "sensitivity/sensitivity_file.h"

namespace qx {

inline Plan plan_named(const ModelConfig& config, const std::string& recipe) {
  PlanRequest request;
  request.recipe = recipe;
  return make_plan(config, request);
}

inline Sensitivity made_up_sensitivity(const ModelConfig& config, std::uint64_t seed = 1) {
  Sensitivity out;
  out.fit = "gptq";
  out.damping = 0.01;
  out.windows = 1;
  out.ctx = 64;
  Random random(seed);
  for (const CatalogTensor& t : tensor_catalog(config)) {
    if (!t.quantizable || t.shape.back() % 32 != 0) continue;
    SensitivityTensor tensor;
    tensor.name = t.name;
    tensor.shape = t.shape;
    tensor.role = role_name(t.role);
    const double scale = std::exp(random.gaussian());
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
      for (const int group : {32, 64, 128}) {
        if (t.shape[1] % group != 0) continue;
        const AffineSpec spec{bits, group};
        tensor.options.push_back({spec, affine_bytes({t.shape[0], t.shape[1]}, spec, out.dtype),
                                  scale * std::pow(4.0, -bits) *
                                      (group == 32   ? 1
                                       : group == 64 ? 1.2
                                                     : 1.5)});
      }
    }
    out.tensors.push_back(std::move(tensor));
  }
  return out;
}

}  // namespace qx
