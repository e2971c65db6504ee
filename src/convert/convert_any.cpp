// SPDX-License-Identifier: Apache-2.0
#include "convert/convert_any.h"

#include <filesystem>
#include <optional>

#include "base/error.h"
#include "convert/import_gguf.h"
#include "convert/output_files.h"
#include "io/replaceable.h"
#include "io/staged.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// The type to import a GGUF file in: what the output will have.
DType import_dtype(const PlanRequest& plan) {
  if (plan.dtype) return *plan.dtype;
  if (plan.recipe == "f32") return DType::kF32;
  return plan.recipe == "f16" ? DType::kF16 : DType::kBF16;
}

}  // namespace

void check_fit(const ConvertRequest& request, std::string_view asked) {
  const FitRequest& fit = request.fit;
  const std::string_view name = asked.empty() ? fit_method_name(fit.method) : asked;
  const bool fitted = fit.method != FitMethod::kMinMax;
  if (fitted && fit.calibration.empty()) {
    throw UsageError(fmt::format(
        "--fit {} needs --calibration FILE, as qx calibrate writes it: without the inputs' sizes, "
        "a smaller error of the weights makes a worse model",
        name));
  }
  if (!fitted && !fit.calibration.empty()) {
    throw UsageError("--calibration goes with --fit mse, gptq or distill, got minmax");
  }
  if (fitted && request.rounding != Rounding::kCpu) {
    throw UsageError("--rounding gpu goes with --fit minmax alone");
  }
  if (fit.method != FitMethod::kGptq && fit.order != ColumnOrder::kNatural) {
    throw UsageError(fmt::format("--column-order goes with --fit gptq or distill, got {}", name));
  }
  if (fit.method != FitMethod::kGptq && fit.damping != FitRequest().damping) {
    throw UsageError(fmt::format("--damping goes with --fit gptq or distill, got {}", name));
  }
  if (fit.method != FitMethod::kGptq && fit.memory_bytes != 0) {
    throw UsageError(fmt::format("--fit-memory goes with --fit gptq or distill, got {}", name));
  }
}

ConvertResult convert_any(const ConvertRequest& request, ThreadPool& pool,
                          const MakeConversion& make) {
  // A recipe is a name or a file, and a directory may bear that name.
  const fs::path recipe = request.plan.recipe;
  require_replaceable(request.target, request.force,
                      {request.source, request.fit.calibration, request.plan.like_directory,
                       fs::is_regular_file(recipe) ? recipe : fs::path()});
  ConvertRequest own = request;
  if (own.source_name.empty()) {
    own.source_name = fs::weakly_canonical(request.source).filename().string();
  }
  std::optional<SideDirectory> imported;
  if (!fs::is_directory(request.source)) {
    own.source = imported.emplace(request.target, ".qx-import").path();
    import_gguf(request.source, own.source,
                {.dtype = import_dtype(request.plan), .force = true, .quiet = request.quiet}, pool);
  }
  return make(own, pool);
}

Json convert_json(const ConvertResult& result, const ConvertRequest& request, double seconds) {
  const Plan& plan = result.plan.plan;
  return {{"output", request.target.string()},
          {"recipe", plan.recipe},
          {"plan_hash", plan.plan_hash()},
          {"rounding", rounding_name(request.rounding)},
          {"fit", fit_method_name(request.fit.method)},
          {"notes", result.notes},
          {"dtype", float_dtype_config_name(result.plan.dtype)},
          {"parameters", plan.parameters},
          {"tensor_bytes", plan.tensor_bytes},
          {"bits_per_weight", plan.bits_per_weight},
          {"tensors", result.tensors},
          {"resumed_tensors", result.resumed_tensors},
          {"files", result.files},
          {"warnings", result.plan.warnings},
          {"source_bytes", result.source_bytes},
          {"seconds", seconds},
          {"make_seconds", result.make_seconds},
          {"sync_seconds", result.sync_seconds}};
}

Json dry_run_json(const ConvertPlan& plan, const ConvertRequest& request) {
  Json json = plan_json(plan.plan, plan.config);
  json["rounding"] = rounding_name(request.rounding);
  json["dry_run"] = true;
  return json;
}

}  // namespace qx
