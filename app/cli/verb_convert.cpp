// qx convert: an MLX model directory out of a model directory or a GGUF file.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <tuple>

#include "base/error.h"
#include "base/thread_pool.h"
#include "convert/convert_any.h"
#include "distill/convert_distilled.h"
#include "options.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct ConvertFlags {
  std::string model, target, recipe, like, dtype, rounding = "cpu", fit = "minmax", calibration,
                                                  column_order = "natural";
  double damping = 0.01;
  DistillRequest training;
  std::int64_t fit_memory_mb = 0;
  std::optional<int> group_size;
  bool dry_run = false, resume = false, force = false, allow_requantize = false;
  OutputOptions output;
  ComputeOptions compute;
};

void check(const ConvertFlags& o) {
  if (o.recipe.empty() == o.like.empty()) {
    throw UsageError("expected one of --recipe NAME or FILE, and --like DIR");
  }
  if (o.target.empty() && !o.dry_run) {
    throw UsageError("-o is missing, expected the directory to write (or --dry-run)");
  }
}

ConvertRequest make_request(const ConvertFlags& o) {
  ConvertRequest request;
  request.target = o.target;
  request.plan.recipe = o.recipe;
  request.plan.group_size = o.group_size;
  if (!o.dtype.empty()) request.plan.dtype = float_dtype_from_config(o.dtype);
  if (!o.like.empty()) request.plan.like_directory = resolve_model(o.like).string();
  request.rounding = o.rounding == "gpu" ? Rounding::kGpu : Rounding::kCpu;
  request.fit = {o.fit == "distill" ? FitMethod::kGptq : parse_fit_method(o.fit), o.calibration,
                 o.damping,
                 o.column_order == "importance" ? ColumnOrder::kImportance : ColumnOrder::kNatural,
                 o.fit_memory_mb * 1'000'000};
  request.force = o.force;
  request.resume = o.resume;
  request.allow_requantize = o.allow_requantize;
  request.quiet = o.output.quiet;
  check_fit(request, o.fit);
  check_training(o.training, o.fit);
  return request;
}

std::string bytes_text(std::int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  return b < 1e9 ? fmt::format("{:.1f} MB", b / 1e6) : fmt::format("{:.2f} GB", b / 1e9);
}

// One line per storage form: how many tensors and weights have it, and their bytes.
void print_summary(const ConvertPlan& p, const ConvertFlags& o) {
  struct Sum {
    std::int64_t tensors = 0, weights = 0, bytes = 0;
  };
  std::map<std::tuple<int, int>, Sum> forms;
  for (const PlanRow& row : p.plan.rows) {
    Sum& sum = forms[row.affine ? std::tuple(row.affine->bits, row.affine->group)
                                : std::tuple(8 * static_cast<int>(dtype_bytes(row.dtype)), 0)];
    ++sum.tensors;
    sum.weights += *element_count(row.tensor.shape);
    sum.bytes += row.bytes;
  }
  fmt::print("{}: {:.1f} M parameters, {}, {:.3f} bits per weight, rounding {}, plan {}\n",
             p.plan.recipe, static_cast<double>(p.plan.parameters) / 1e6,
             bytes_text(p.plan.tensor_bytes), p.plan.bits_per_weight, o.rounding,
             p.plan.plan_hash().substr(0, 12));
  for (const auto& [form, sum] : forms) {
    const auto& [bits, group] = form;
    const std::string name = group == 0 ? std::string(float_dtype_config_name(p.dtype))
                                        : fmt::format("{} bits, group {}", bits, group);
    fmt::print("  {:18} {:5} tensors  {:>10.1f} M weights  {:>10}\n", name, sum.tensors,
               static_cast<double>(sum.weights) / 1e6, bytes_text(sum.bytes));
  }
}

void warn(const std::vector<std::string>& warnings) {
  for (const std::string& w : warnings) fmt::print(stderr, "warning: {}\n", w);
}

void dry_run(const ConvertRequest& request, const ConvertFlags& o) {
  const ConvertPlan p = plan_conversion(request);
  warn(p.warnings);
  if (o.output.json) {
    fmt::print("{}\n", dump_json(dry_run_json(p, request), 2, false, true));
    return;
  }
  print_summary(p, o);
  fmt::print("nothing was written (--dry-run)\n");
}

void run(const ConvertFlags& o) {
  const auto start = std::chrono::steady_clock::now();
  check(o);
  ConvertRequest request = make_request(o);
  request.source = resolve_model(o.model, true);
  if (o.dry_run) {
    if (!fs::is_directory(request.source)) {
      throw UsageError("--dry-run reads a model directory, got a GGUF file; use qx import first");
    }
    dry_run(request, o);
    return;
  }
  require_absent(o.target, o.force);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const FittedConversion made =
      convert_fitted(request, o.fit == "distill" ? std::optional(o.training) : std::nullopt, *pool);
  const ConvertResult& result = made.converted;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  warn(result.plan.warnings);
  for (const std::string& note : result.notes) fmt::print(stderr, "{}\n", note);
  if (o.output.json) {
    fmt::print("{}\n", dump_json(fitted_json(made, request, seconds), 2, false, true));
    return;
  }
  print_summary(result.plan, o);
  fmt::print(
      "{}: {} files in {:.1f} s: {:.2f} s for {} of source ({:.2f} GB/s), {:.2f} s to sync\n",
      o.target, result.files.size(), seconds, result.make_seconds, bytes_text(result.source_bytes),
      static_cast<double>(result.source_bytes) / 1e9 / std::max(result.make_seconds, 1e-9),
      result.sync_seconds);
  if (const auto& distilled = made.distilled) {
    fmt::print(
        "{}: {} distilling steps over {} windows; KL on {} other windows {:.5f}, was {:.5f}\n",
        o.target, o.training.steps, distilled->windows, distilled->validation, distilled->kl,
        distilled->start_kl);
  }
}

}  // namespace

void add_convert(CLI::App& app) {
  auto options = std::make_shared<ConvertFlags>();
  ConvertFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "convert", "make an MLX model directory: quantize by a recipe, or change the float type");
  verb->add_option("-m,--model", o.model, "model directory, .gguf file, or cached Hub id")
      ->required();
  verb->add_option("-o,--output", o.target, "the directory to write");
  verb->add_option("--recipe", o.recipe,
                   "a recipe's name (q4-hi, qx63-hi, mixed_3_6, bf16, ..) or file");
  verb->add_option("--like", o.like, "instead of a recipe: the map of this model directory");
  verb->add_option("--group-size", o.group_size, "group size instead of the recipe's")
      ->check(CLI::IsMember({32, 64, 128}));
  verb->add_option("--rounding", o.rounding,
                   "which of MLX's encoders to equal: cpu, or gpu (half away from zero)")
      ->check(CLI::IsMember({"cpu", "gpu"}))
      ->capture_default_str();
  verb->add_option("--fit", o.fit,
                   "how codes are found: minmax (MLX's own), mse (least squares, weighted by the "
                   "inputs), gptq (mse with error feedback), distill (gptq, then scales and biases "
                   "trained towards the model); docs/fitting.md")
      ->check(CLI::IsMember({"minmax", "mse", "gptq", "distill"}))
      ->capture_default_str();
  verb->add_option("--calibration", o.calibration,
                   "with mse, gptq and distill: what qx calibrate wrote");
  verb->add_option("--damping", o.damping,
                   "gptq: share of the second moment's mean diagonal that is added to it")
      ->check(number_in(0, 10))
      ->capture_default_str();
  verb->add_option("--column-order", o.column_order,
                   "gptq: in which order columns are quantized: natural, or importance (groups of "
                   "large inputs first)")
      ->check(CLI::IsMember({"natural", "importance"}))
      ->capture_default_str();
  verb->add_option("--fit-memory", o.fit_memory_mb,
                   "gptq: MB for factors of second moments (default: half of what is available)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  verb->add_option("--steps", o.training.steps, "distill: windows to learn from, one a step")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
  verb->add_option("--rate", o.training.rate,
                   "distill: how far a step moves weights at first, as a part of the distance "
                   "between codes")
      ->check(number_in(0, 1))
      ->capture_default_str();
  verb->add_option("--seed", o.training.seed, "distill: of the order of windows")
      ->capture_default_str();
  verb->add_option("--dtype", o.dtype,
                   "type of floats, scales and biases (default: the recipe's, else the model's)")
      ->check(CLI::IsMember({"bfloat16", "float16", "float32"}));
  verb->add_flag("--dry-run", o.dry_run, "print the plan's summary, write nothing");
  verb->add_flag("--resume", o.resume, "go on from where a killed conversion stopped");
  verb->add_flag("--force", o.force, "replace an existing directory");
  verb->add_flag("--allow-requantize", o.allow_requantize,
                 "quantize a source that is quantized already");
  add_compute_options(*verb, o.compute);
  add_output_options(*verb, o.output);
  set_example(*verb, "qx convert -m models/Qwen3-8B -o models/Qwen3-8B-qx63-hi --recipe qx63-hi");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
