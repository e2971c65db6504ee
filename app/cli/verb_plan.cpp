// qx plan: what a recipe does to a model, tensor by tensor, before anything is written.
// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <optional>

#include "base/byte_size.h"
#include "base/error.h"
#include "convert/plan_model.h"
#include "options.h"
#include "recipe/plan.h"
#include "recipe/summary.h"
#include "verbs.h"

namespace qx::cli {
namespace {
struct PlanFlags {
  std::string model, recipe, like, dtype, fit;
  std::optional<int> group_size;
  std::int64_t context = 0;  // 0: the default
  int kv_bits = 32;
  bool tensors = false;
  OutputOptions output;
};

PlanRequest make_request(const PlanFlags& o) {
  if (o.recipe.empty() == o.like.empty()) {
    throw UsageError("expected one of --recipe NAME or FILE, and --like DIR");
  }
  PlanRequest request;
  request.recipe = o.recipe;
  request.group_size = o.group_size;
  if (!o.dtype.empty()) request.dtype = float_dtype_from_config(o.dtype);
  if (!o.like.empty()) request.like_directory = resolve_model(o.like).string();
  return request;
}

void print_tensors(const Plan& plan) {
  for (const StorageRow& row : storage_rows(plan)) {
    const std::string storage = row.group_size
                                    ? fmt::format("{} bits, group {}", row.bits, *row.group_size)
                                    : fmt::format("{} bits, float", row.bits);
    fmt::print("{:<50} {:<18} {:<18} {:>12}  {}\n", row.name, shape_text(row.shape), storage,
               row.bytes, row.rule);
  }
}

std::string fit_text(const MemoryNeeds& needs, std::int64_t limit, const std::string& size) {
  const std::int64_t spare = limit - needs.total();
  return spare >= 0 ? fmt::format("fits {}: yes, {} to spare", size, bytes_text(spare))
                    : fmt::format("fits {}: NO, {} too much", size, bytes_text(-spare));
}

void print_text(const ModelPlan& planned, const PlanFlags& o) {
  const Plan& plan = planned.plan;
  const ModelConfig& config = planned.config;
  const MemoryNeeds& needs = planned.needs;
  fmt::print("{}: {}, {} layers, {:.1f} M parameters{}\n", planned.name, config.model_type,
             config.num_hidden_layers, static_cast<double>(plan.parameters) / 1e6,
             config.tie_word_embeddings ? ", head tied to the embeddings" : "");
  fmt::print("{}: {} ({} bytes), {:.3f} bits per weight, {} floats, plan {}\n\n", plan.recipe,
             bytes_text(plan.tensor_bytes), plan.tensor_bytes, plan.bits_per_weight,
             float_dtype_config_name(plan.rows.front().dtype), plan.plan_hash().substr(0, 12));
  if (o.tensors) {
    print_tensors(plan);
  } else {
    const std::vector<SummaryItem> items = summary_items(plan);
    fmt::print("{}", summary_table(summarize(items), config.num_hidden_layers));
  }
  fmt::print("\nmemory to run {} tokens: {} (weights {}, cache {}, activations about {})\n",
             planned.context, bytes_text(needs.total()), bytes_text(needs.weights),
             bytes_text(needs.cache), bytes_text(needs.activations));
  if (planned.memory_limit > 0) {
    fmt::print("{}\n", fit_text(needs, planned.memory_limit, o.fit));
  }
}

void run(const PlanFlags& o) {
  ModelPlanRequest request;
  request.model = o.model;
  request.plan = make_request(o);
  request.context = o.context;
  request.kv_bits = o.kv_bits;
  if (!o.fit.empty()) request.memory_limit = parse_bytes(o.fit, "--fit");
  const ModelPlan planned = plan_model(request);
  if (o.output.json) {
    fmt::print("{}\n", dump_json(model_plan_json(planned), 2, false, true));
    return;
  }
  print_text(planned, o);
  for (const std::string& warning : planned.plan.warnings) {
    fmt::print(stderr, "warning: {}\n", warning);
  }
}

}  // namespace

void add_plan(CLI::App& app) {
  auto options = std::make_shared<PlanFlags>();
  PlanFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "plan", "what a recipe does to a model: bits, rule and exact bytes per tensor, no weights");
  verb->add_option("-m,--model", o.model,
                   "model directory, config.json, .gguf file, or cached Hub id")
      ->required();
  verb->add_option("--recipe", o.recipe,
                   "a recipe's name (q4-hi, qx63-hi, mixed_3_6, bf16, ..) or file");
  verb->add_option("--like", o.like, "instead of a recipe: the map of this model directory");
  verb->add_option("--group-size", o.group_size, "group size instead of the recipe's")
      ->check(CLI::IsMember({32, 64, 128}));
  verb->add_option("--dtype", o.dtype,
                   "type of floats, scales and biases (default: the recipe's, else the model's)")
      ->check(CLI::IsMember({"bfloat16", "float16", "float32"}));
  verb->add_option("--ctx", o.context,
                   "tokens of context for the memory to run (default: 4096 or the model's)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  add_kv_bits_option(*verb, o.kv_bits);
  verb->add_option("--fit", o.fit, "memory of the machine, such as 16GB or 16GiB: does it fit?");
  verb->add_flag("--tensors", o.tensors, "one line per tensor instead of the summary");
  add_output_options(*verb, o.output);
  set_example(*verb, "qx plan -m Qwen3-8B/config.json --recipe qx63-hi --ctx 8192 --fit 16GB");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
