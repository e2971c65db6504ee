// The verbs of the program as functions: plan, convert, evaluate, compare, audit. Each returns the
// document of its --json. SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "audit/audit.h"
#include "base/byte_size.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "bindings.h"
#include "compare/compare_folders.h"
#include "convert/convert_any.h"
#include "convert/plan_model.h"
#include "distill/convert_distilled.h"
#include "eval/evaluate.h"
#include "eval/named_models.h"
#include "eval/outcome_json.h"
#include "interruptible.h"
#include "io/find_model.h"
#include "json_python.h"
#include "model/memory_need.h"
#include "recipe/summary.h"
#include "tasks/task.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qx::python {
namespace {
namespace fs = std::filesystem;

using Text = std::optional<std::string>;

// One of a few names. Fails: UsageError.
template <typename T>
T one_of(const char* argument, const std::string& given,
         std::initializer_list<std::pair<const char*, T>> known) {
  std::string names;
  for (const auto& [name, value] : known) {
    if (given == name) return value;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  throw UsageError(fmt::format("{}: got '{}', expected one of {}", argument, given, names));
}

PlanRequest plan_request(const Text& recipe, const Text& like, std::optional<int> group_size,
                         const Text& dtype) {
  if (recipe.has_value() == like.has_value()) {
    throw UsageError("expected one of recipe, a name or file, and like, a model directory");
  }
  PlanRequest request;
  request.recipe = recipe.value_or("");
  request.group_size = group_size;
  if (group_size)
    one_of<int>("group_size", std::to_string(*group_size), {{"32", 32}, {"64", 64}, {"128", 128}});
  if (dtype) {
    request.dtype = one_of<DType>(
        "dtype", *dtype,
        {{"bfloat16", DType::kBF16}, {"float16", DType::kF16}, {"float32", DType::kF32}});
  }
  if (like) request.like_directory = resolve_model(*like).string();
  return request;
}

Document plan(const std::string& model, const Text& recipe, const Text& like,
              std::optional<int> group_size, const Text& dtype, std::int64_t ctx, int kv_bits,
              const Text& fit) {
  ModelPlanRequest request;
  request.model = model;
  request.plan = plan_request(recipe, like, group_size, dtype);
  request.context = ctx;
  request.kv_bits = static_cast<int>(kv_bits_of(kv_bits));
  if (fit) request.memory_limit = parse_bytes(*fit, "--fit");
  Json document;
  {
    const nb::gil_scoped_release release;
    document = model_plan_json(plan_model(request));
  }
  return document_to_python(document);
}

constexpr const char* kDistill = "distill";  // a fit that is gptq's, and more

struct ConvertArguments {
  std::string rounding, fit, column_order;
  Text calibration;
  double damping = 0.01;
  std::int64_t fit_memory_mb = 0;
};

void put_fit(const ConvertArguments& a, ConvertRequest& request) {
  request.rounding =
      one_of<Rounding>("rounding", a.rounding, {{"cpu", Rounding::kCpu}, {"gpu", Rounding::kGpu}});
  request.fit.method = one_of<FitMethod>("fit", a.fit,
                                         {{"minmax", FitMethod::kMinMax},
                                          {"mse", FitMethod::kMse},
                                          {"gptq", FitMethod::kGptq},
                                          {kDistill, FitMethod::kGptq}});
  request.fit.order = one_of<ColumnOrder>(
      "column_order", a.column_order,
      {{"natural", ColumnOrder::kNatural}, {"importance", ColumnOrder::kImportance}});
  if (!(a.damping >= 0 && a.damping <= 10)) {
    throw UsageError(fmt::format("damping: got {}, expected 0 to 10", a.damping));
  }
  if (a.fit_memory_mb < 0 || a.fit_memory_mb > std::int64_t{1} << 40) {
    throw UsageError("fit_memory: expected a positive number of MB");
  }
  request.fit.damping = a.damping;
  request.fit.memory_bytes = a.fit_memory_mb * 1'000'000;
  request.fit.calibration = a.calibration.value_or("");
  check_fit(request, a.fit);
}

DistillRequest training_of(std::int64_t steps, double rate, std::uint64_t seed) {
  if (steps < 1 || steps > std::int64_t{1} << 30) {
    throw UsageError(fmt::format("steps: got {}, expected 1 or more", steps));
  }
  if (!(rate >= 0 && rate <= 1)) {
    throw UsageError(fmt::format("rate: got {}, expected 0 to 1", rate));
  }
  DistillRequest training;
  training.steps = steps;
  training.rate = rate;
  training.seed = seed;
  return training;
}

Document convert_model(const std::string& model, const std::string& output, const Text& recipe,
                       const Text& like, std::optional<int> group_size, const Text& dtype,
                       const std::string& rounding, const std::string& fit, const Text& calibration,
                       double damping, const std::string& column_order, std::int64_t fit_memory_mb,
                       std::int64_t steps, double rate, std::uint64_t seed, bool resume, bool force,
                       bool allow_requantize, int threads, const nb::object& progress) {
  const auto start = std::chrono::steady_clock::now();
  ConvertRequest request;
  request.source = resolve_model(model, true);
  request.target = output;
  request.plan = plan_request(recipe, like, group_size, dtype);
  put_fit({rounding, fit, column_order, calibration, damping, fit_memory_mb}, request);
  request.resume = resume;
  request.force = force;
  request.allow_requantize = allow_requantize;
  request.quiet = true;
  const std::unique_ptr<ThreadPool> pool = make_pool(threads);
  const DistillRequest training = training_of(steps, rate, seed);
  check_training(training, fit);
  const FittedConversion made = interruptible(
      [&] {
        return convert_fitted(request, fit == kDistill ? std::optional(training) : std::nullopt,
                              *pool);
      },
      progress);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return document_to_python(fitted_json(made, request, seconds));
}

Selection selection_of(std::int64_t offset, std::optional<std::int64_t> limit,
                       std::optional<std::int64_t> sample, std::uint64_t seed, const Text& indices,
                       const Text& shard) {
  if ((limit ? 1 : 0) + (sample ? 1 : 0) + (indices ? 1 : 0) > 1) {
    throw UsageError("expected at most one of limit, sample and indices");
  }
  if (indices && offset != 0) throw UsageError("offset: got one, expected none beside indices");
  if (offset < 0 || (limit && *limit < 1) || (sample && *sample < 1)) {
    throw UsageError("expected an offset of 0 or more, and a limit or sample of 1 or more");
  }
  Selection selection;
  selection.offset = offset;
  selection.limit = limit;
  if (sample) selection.sample = Sample{*sample, seed};
  if (shard) selection.shard = parse_shard(*shard);
  if (indices) selection.indices = read_index_list(*indices);
  return selection;
}

struct EvalArguments {
  std::optional<bool> chat, multiturn;
  Text convention;
  int shots = 0;
  std::optional<std::uint64_t> fewshot_seed;
  bool resume = false, force = false;
};

void put_form(const EvalArguments& a, EvalRequest& request) {
  request.chat = a.chat;
  if (a.convention) {
    request.convention =
        one_of<Convention>("convention", *a.convention,
                           {{"lm-eval", Convention::kLmEval}, {"mlx-lm", Convention::kMlxLm}});
  }
  if (a.shots < 0 || a.shots > 10000) {
    throw UsageError(fmt::format("shots: got {}, expected 0 to 10000", a.shots));
  }
  request.shots = a.shots;
  request.few_shot_seed = a.fewshot_seed;
  request.multiturn = a.multiturn;
  if (a.resume && a.force) throw UsageError("resume and force exclude each other");
  request.how = a.force    ? OpenRun::kStartOver
                : a.resume ? OpenRun::kContinueOnly
                           : OpenRun::kNewOrContinue;
}

void require_memory_for(const EvalRequest& request, bool allow_swap) {
  for (const EvalModel& model : request.models) {
    const ModelConfig config = load_model_config(model.directory);
    const std::string tight = check_memory(
        model.directory, config, std::min(kDefaultContext, config.max_position_embeddings),
        request.kv_bits, allow_swap, request.pass.tokens);
    if (!tight.empty()) warn(tight);
  }
}

Document evaluate_models(const std::vector<std::string>& models, const std::string& tasks,
                         const std::string& output, const Text& data, std::int64_t offset,
                         std::optional<std::int64_t> limit, std::optional<std::int64_t> sample,
                         std::uint64_t seed, const Text& indices, const Text& shard,
                         std::optional<bool> chat, const Text& convention,
                         const nb::object& template_config, int shots,
                         std::optional<std::uint64_t> fewshot_seed, std::optional<bool> multiturn,
                         const std::string& precision, int kv_bits, bool write_prompts, bool resume,
                         bool force, bool allow_swap, int threads, const nb::object& progress) {
  EvalRequest request;
  request.tasks = parse_task_list(tasks);
  request.runs = output;
  if (data) request.data_directory = *data;
  request.rows = selection_of(offset, limit, sample, seed, indices, shard);
  put_form({chat, multiturn, convention, shots, fewshot_seed, resume, force}, request);
  if (!template_config.is_none()) {
    request.template_variables = from_python(template_config, "chat_template_config");
  }
  request.precision = precision_of(precision);
  request.kv_bits = kv_bits_of(kv_bits);
  request.write_prompts = write_prompts;
  request.quiet = true;
  for (NamedModel& model : parse_named_models(models)) {
    request.models.push_back({std::move(model.name), std::move(model.directory)});
  }
  check_request(request);
  require_memory_for(request, allow_swap);
  const std::unique_ptr<ThreadPool> pool = make_pool(threads);
  const EvalOutcome outcome = interruptible([&] { return evaluate(request, *pool); }, progress);
  return document_to_python(outcome_json(outcome));
}

nb::any compare_run_folders(const std::vector<std::string>& runs, const Text& baseline,
                            const std::string& metric, double margin, bool intersect,
                            bool all_pairs, const Text& flips,
                            const std::vector<std::string>& gates, const Text& budget,
                            const std::string& format) {
  enum class Format { kDict, kText, kMarkdown, kHtml, kCsv };
  const Format wanted = one_of<Format>("format", format,
                                       {{"dict", Format::kDict},
                                        {"text", Format::kText},
                                        {"md", Format::kMarkdown},
                                        {"html", Format::kHtml},
                                        {"csv", Format::kCsv}});
  CompareRequest request;
  request.runs = runs;
  request.baseline = baseline.value_or("");
  request.metric = parse_metric(metric);
  request.margin = margin;
  request.intersect = intersect;
  request.all_pairs = all_pairs;
  if (flips) request.flips = *flips == "all" ? "" : *flips;
  for (const std::string& gate : gates) request.gates.push_back(parse_gate(gate));
  if (budget) request.budget = parse_bytes(*budget, "--budget");
  Json document;
  std::string text;
  {
    const nb::gil_scoped_release release;
    const ComparedRuns compared = compare_folders(request);
    if (wanted == Format::kDict) document = render_json(compared);
    if (wanted == Format::kText) text = render_text(compared, {});
    if (wanted == Format::kMarkdown) text = render_markdown(compared);
    if (wanted == Format::kHtml) text = render_html(compared);
    if (wanted == Format::kCsv) text = render_csv(compared);
  }
  if (wanted == Format::kDict) return nb::borrow<nb::any>(to_python(document));
  return nb::borrow<nb::any>(nb::str(text.c_str(), text.size()));
}

Document audit_card(const Text& path, const Text& text) {
  if (path.has_value() == text.has_value()) {
    throw UsageError("expected one of a path and text");
  }
  Json document;
  {
    const nb::gil_scoped_release release;
    document =
        audit_json(path ? audit_text(MappedFile(*path).text(), *path) : audit_text(*text, "text"));
  }
  return document_to_python(document);
}

}  // namespace

void bind_verbs(nb::module_& m) {
  m.def("plan", &plan, "model"_a, "recipe"_a.none(), "like"_a.none(), "group_size"_a.none(),
        "dtype"_a.none(), "ctx"_a, "kv_bits"_a, "fit"_a.none());
  m.def("convert", &convert_model, "model"_a, "output"_a, "recipe"_a.none(), "like"_a.none(),
        "group_size"_a.none(), "dtype"_a.none(), "rounding"_a, "fit"_a, "calibration"_a.none(),
        "damping"_a, "column_order"_a, "fit_memory"_a, "steps"_a, "rate"_a, "seed"_a, "resume"_a,
        "force"_a, "allow_requantize"_a, "threads"_a, "progress"_a.none());
  m.def("evaluate", &evaluate_models, "models"_a, "tasks"_a, "output"_a, "data"_a.none(),
        "offset"_a, "limit"_a.none(), "sample"_a.none(), "seed"_a, "indices"_a.none(),
        "shard"_a.none(), "chat"_a.none(), "convention"_a.none(), "chat_template_config"_a.none(),
        "shots"_a, "fewshot_seed"_a.none(), "multiturn"_a.none(), "precision"_a, "kv_bits"_a,
        "write_prompts"_a, "resume"_a, "force"_a, "allow_swap"_a, "threads"_a, "progress"_a.none());
  m.def("compare", &compare_run_folders, "runs"_a, "baseline"_a.none(), "metric"_a, "margin"_a,
        "intersect"_a, "all_pairs"_a, "flips"_a.none(), "gates"_a, "budget"_a.none(), "format"_a);
  m.def("audit", &audit_card, "path"_a.none(), "text"_a.none());
}

}  // namespace qx::python
