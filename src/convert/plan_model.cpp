// SPDX-License-Identifier: Apache-2.0
#include "convert/plan_model.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "convert/import_gguf.h"
#include "io/find_model.h"
#include "recipe/directory_map.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// The type that most of the stored weights have; a config that names none leaves it to them.
std::optional<DType> stored_dtype(const MeasuredDirectory& directory) {
  std::map<DType, std::int64_t> weights;
  for (const MeasuredRow& row : directory.rows) {
    if (row.dtype) weights[*row.dtype] += element_count(row.tensor.shape).value_or(0);
  }
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](auto& a, auto& b) { return a.second < b.second; });
  return most == weights.end() ? std::nullopt : std::optional(most->first);
}

bool has_weight_files(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors")) return true;
  }
  return false;
}

// A model directory with or without weights, a bare config file, or a GGUF file.
ModelConfig read_any_config(const std::string& model, std::string& shown_name) {
  std::error_code ignored;
  if (fs::path(model).extension() == ".json" && fs::is_regular_file(model, ignored)) {
    shown_name = model;
    return load_model_config(model);
  }
  const fs::path path = resolve_model(model, true);
  shown_name = fs::weakly_canonical(path).filename().string();
  if (!fs::is_directory(path)) {
    return parse_model_config(GgufModel(path).config(DType::kBF16), path.string());
  }
  ModelConfig config = load_model_config(path);
  if (!config.dtype && has_weight_files(path)) config.dtype = stored_dtype(measure_directory(path));
  return config;
}

}  // namespace

ModelPlan plan_model(const ModelPlanRequest& request) {
  if (request.plan.recipe.empty() == request.plan.like_directory.empty()) {
    throw UsageError("expected one of --recipe NAME or FILE, and --like DIR");
  }
  ModelPlan out;
  out.config = read_any_config(request.model, out.name);
  out.plan = make_plan(out.config, request.plan);
  out.kv_bits = request.kv_bits;
  out.memory_limit = request.memory_limit;
  const std::int64_t longest = out.config.max_position_embeddings;
  out.context = request.context > 0 ? request.context : std::min(kDefaultContext, longest);
  if (out.context > longest) {
    out.plan.warnings.push_back(
        fmt::format("--ctx {} is beyond the model's context of {} tokens", out.context, longest));
  }
  if (out.config.quantization && out.plan.quantizes) {
    out.plan.warnings.push_back(
        "the source is quantized already; converting it needs --allow-requantize and loses more "
        "than quantizing the original");
  }
  out.needs = memory_needs(out.config, out.plan.tensor_bytes, out.context, out.kv_bits);
  return out;
}

Json model_plan_json(const ModelPlan& planned) {
  Json json = plan_json(planned.plan, planned.config);
  Json memory{{"ctx", planned.context},
              {"weights_bytes", planned.needs.weights},
              {"kv_bits", planned.kv_bits},
              {"kv_bytes", planned.needs.cache},
              {"activation_bytes", planned.needs.activations},
              {"total_bytes", planned.needs.total()}};
  if (planned.memory_limit > 0) {
    memory["fit_bytes"] = planned.memory_limit;
    memory["fits"] = planned.needs.total() <= planned.memory_limit;
  }
  json["memory"] = std::move(memory);
  return json;
}

}  // namespace qx
