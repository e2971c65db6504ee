// qx plan: what a recipe does to a model, tensor by tensor, before anything is written.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "arch/model_config.h"
#include "base/error.h"
#include "convert/import_gguf.h"
#include "options.h"
#include "recipe/directory_map.h"
#include "recipe/plan.h"
#include "recipe/summary.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct Options {
  std::string model, recipe, like, dtype, fit;
  std::optional<int> group_size;
  std::int64_t context = 0;  // 0: the default
  int kv_bits = 32;
  bool tensors = false;
  OutputOptions output;
};

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

bool has_weights(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors")) return true;
  }
  return false;
}

// A model directory with or without weights, a bare config file, or a GGUF file.
ModelConfig read_config(const std::string& model, std::string& shown_name) {
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
  if (!config.dtype && has_weights(path)) config.dtype = stored_dtype(measure_directory(path));
  return config;
}

PlanRequest make_request(const Options& o) {
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

void print_text(const Plan& plan, const ModelConfig& config, const std::string& name,
                const MemoryNeeds& needs, std::int64_t context, std::int64_t limit,
                const Options& o) {
  fmt::print("{}: {}, {} layers, {:.1f} M parameters{}\n", name, config.model_type,
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
             context, bytes_text(needs.total()), bytes_text(needs.weights), bytes_text(needs.cache),
             bytes_text(needs.activations));
  if (limit > 0) fmt::print("{}\n", fit_text(needs, limit, o.fit));
}

void run(const Options& o) {
  const PlanRequest request = make_request(o);
  const std::int64_t limit = o.fit.empty() ? 0 : parse_bytes(o.fit, "--fit");
  std::string name;
  const ModelConfig config = read_config(o.model, name);
  Plan plan = make_plan(config, request);
  const std::int64_t context =
      o.context > 0 ? o.context : std::min(kDefaultContext, config.max_position_embeddings);
  if (context > config.max_position_embeddings) {
    plan.warnings.push_back(fmt::format("--ctx {} is beyond the model's context of {} tokens",
                                        context, config.max_position_embeddings));
  }
  if (config.quantization && plan.quantizes) {
    plan.warnings.push_back(
        "the source is quantized already; converting it needs --allow-requantize and loses more "
        "than quantizing the original");
  }
  const MemoryNeeds needs = memory_needs(config, plan.tensor_bytes, context, o.kv_bits);
  if (o.output.json) {
    Json json = plan_json(plan, config);
    Json memory{{"ctx", context},
                {"weights_bytes", needs.weights},
                {"kv_bits", o.kv_bits},
                {"kv_bytes", needs.cache},
                {"activation_bytes", needs.activations},
                {"total_bytes", needs.total()}};
    if (limit > 0) {
      memory["fit_bytes"] = limit;
      memory["fits"] = needs.total() <= limit;
    }
    json["memory"] = std::move(memory);
    fmt::print("{}\n", dump_json(json, 2, false, true));
    return;
  }
  print_text(plan, config, name, needs, context, limit, o);
  for (const std::string& warning : plan.warnings) fmt::print(stderr, "warning: {}\n", warning);
}

}  // namespace

void add_plan(CLI::App& app) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
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
