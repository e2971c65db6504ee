// SPDX-License-Identifier: Apache-2.0
#include "recipe/plan.h"

#include "base/error.h"
#include "base/hash.h"
#include "recipe/directory_map.h"
#include "recipe/recipe.h"
#include "recipe/resolve.h"

namespace qx {
namespace {

void set_group(Recipe& recipe, int group) {
  if (group != 32 && group != 64 && group != 128) {
    throw UsageError(fmt::format("--group-size: got {}, expected 32, 64 or 128", group));
  }
  if (recipe.is_float) {
    throw UsageError(fmt::format(
        "--group-size: recipe '{}' keeps float weights, which have no groups", recipe.name));
  }
  if (recipe.group_is_in_name && group != recipe.spec.group) {
    throw UsageError(fmt::format("--group-size: got {}, but the name '{}' means group size {}",
                                 group, recipe.name, recipe.spec.group));
  }
  recipe.spec.group = group;
  for (Rule& rule : recipe.rules) {
    if (!rule.has_own_group) rule.spec.group = group;
  }
}

}  // namespace

Plan make_plan(const ModelConfig& config, const PlanRequest& request) {
  const std::vector<CatalogTensor> catalog = tensor_catalog(config);
  if (!request.like_directory.empty()) {
    if (request.group_size) {
      throw UsageError("--group-size: not together with --like, which takes the directory's own");
    }
    return plan_like(config, catalog, request.like_directory,
                     request.dtype.value_or(config.dtype.value_or(DType::kBF16)));
  }
  Recipe recipe = find_recipe(request.recipe);
  if (request.group_size) set_group(recipe, *request.group_size);
  if (recipe.dtype && request.dtype && *recipe.dtype != *request.dtype) {
    throw UsageError(fmt::format("--dtype: got {}, but recipe '{}' stores {}",
                                 float_dtype_config_name(*request.dtype), recipe.name,
                                 float_dtype_config_name(*recipe.dtype)));
  }
  ResolveOptions options;
  options.tied_head = config.tie_word_embeddings;
  options.dtype =
      recipe.dtype.value_or(request.dtype.value_or(config.dtype.value_or(DType::kBF16)));
  return resolve_plan(recipe, catalog, options);
}

std::vector<StorageRow> storage_rows(const Plan& plan) {
  std::vector<StorageRow> rows;
  rows.reserve(plan.rows.size());
  for (const PlanRow& row : plan.rows) {
    StorageRow out{row.tensor.name, row.tensor.shape, 0,       std::nullopt,
                   "float",         row.bytes,        row.rule};
    if (row.affine) {
      out.bits = row.affine->bits;
      out.group_size = row.affine->group;
      out.mode = "affine";
    } else {
      out.bits = static_cast<int>(8 * dtype_bytes(row.dtype));
    }
    rows.push_back(std::move(out));
  }
  return rows;
}

std::string storage_hash(std::span<const StorageRow> rows) {
  Json list = Json::array();
  for (const StorageRow& row : rows) {
    list.push_back(Json::array(
        {row.name, row.bits, row.group_size ? Json(*row.group_size) : Json(), row.mode}));
  }
  return sha256_hex(list.dump());
}

std::string Plan::plan_hash() const {
  return storage_hash(storage_rows(*this));
}

Json quantization_json(const Plan& plan) {
  if (!plan.quantizes) return nullptr;
  const auto entry = [](const AffineSpec& spec) {
    return Json{{"group_size", spec.group}, {"bits", spec.bits}, {"mode", "affine"}};
  };
  Json out = entry(plan.default_spec);
  for (const PlanRow& row : plan.rows) {
    if (!row.affine || (!row.named && *row.affine == plan.default_spec)) continue;
    out[row.tensor.module] = entry(*row.affine);
  }
  return out;
}

Json storage_json(std::span<const StorageRow> rows) {
  Json tensors = Json::array();
  for (const StorageRow& row : rows) {
    tensors.push_back({{"name", row.name},
                       {"shape", row.shape},
                       {"bits", row.bits},
                       {"group_size", row.group_size ? Json(*row.group_size) : Json()},
                       {"mode", row.mode},
                       {"bytes", row.bytes},
                       {"rule", row.rule}});
  }
  return tensors;
}

Json plan_json(const Plan& plan, const ModelConfig& config) {
  const std::vector<StorageRow> rows = storage_rows(plan);
  QX_CHECK(!plan.rows.empty());
  return Json{{"model_type", config.model_type},
              {"parameters", plan.parameters},
              {"tensor_bytes", plan.tensor_bytes},
              {"bits_per_weight", plan.bits_per_weight},
              {"recipe", plan.recipe},
              {"plan_hash", storage_hash(rows)},
              {"dtype", float_dtype_config_name(plan.rows.front().dtype)},
              {"quantization", quantization_json(plan)},
              {"tensors", storage_json(rows)},
              {"warnings", plan.warnings}};
}

}  // namespace qx
