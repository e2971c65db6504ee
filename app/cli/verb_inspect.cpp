// qx inspect: what a model directory holds, measured from its weight files.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "convert/quant_errors.h"
#include "options.h"
#include "recipe/directory_map.h"
#include "recipe/plan.h"
#include "recipe/summary.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct InspectFlags {
  std::string model, source;
  bool tensors = false, as_recipe = false, errors = false;
  ComputeOptions compute;
  OutputOptions output;
};

constexpr const char* kPlanFile = "qx_plan.json";

// The recipe that the directory says it was made by; empty when it does not say. A record that the
// weights contradict, or that is broken, is a problem and not believed.
std::string recorded_recipe(const fs::path& directory, const std::string& measured_hash,
                            std::vector<std::string>& problems) {
  const fs::path file = directory / kPlanFile;
  if (!fs::exists(file)) return "";
  try {
    const Json record = read_json_file(file, std::size_t{64} << 20);
    const std::string hash = json_string_or(record, "plan_hash", "", file.string());
    if (hash == measured_hash) return json_string_or(record, "recipe", "", file.string());
    problems.push_back(
        fmt::format("{} records plan {}, but the weights have plan {}; it is not believed",
                    kPlanFile, hash.substr(0, 12), measured_hash.substr(0, 12)));
  } catch (const Error& e) {
    // The model is as sound without it.
    problems.push_back(fmt::format("{} cannot be read: {}", kPlanFile, e.what()));
  }
  return "";
}

Json quantization_map(const ModelConfig& config) {
  if (!config.quantization) return nullptr;
  const auto number = [](const std::optional<int>& value) { return value ? Json(*value) : Json(); };
  const auto entry = [&](const QuantEntry& e) -> Json {
    if (e.is_float) return false;
    return Json{{"group_size", number(e.group_size)}, {"bits", number(e.bits)}, {"mode", e.mode}};
  };
  Json out = entry(config.quantization->global);
  for (const auto& [module, e] : config.quantization->modules) out[module] = entry(e);
  return out;
}

Json errors_json(const std::vector<TensorError>& errors) {
  Json list = Json::array();
  for (const TensorError& e : errors) {
    Json entry;
    entry["name"] = e.name;
    entry["bits"] = e.affine ? Json(e.affine->bits) : Json();
    entry["group_size"] = e.affine ? Json(e.affine->group) : Json();
    entry["rms"] = e.rms;
    entry["largest"] = e.largest;
    entry["sqnr_db"] = std::isfinite(e.sqnr_db) ? Json(e.sqnr_db) : Json();
    entry["groups"] = e.groups;
    entry["clipped_groups"] = e.clipped_groups;
    entry["flat_groups"] = e.flat_groups;
    list.push_back(std::move(entry));
  }
  return list;
}

// The worst tensors first; ten of them unless all are asked for.
void print_errors(std::vector<TensorError> errors, bool all) {
  std::stable_sort(errors.begin(), errors.end(), [](const TensorError& a, const TensorError& b) {
    return a.sqnr_db < b.sqnr_db;
  });
  const std::size_t shown = all ? errors.size() : std::min<std::size_t>(10, errors.size());
  fmt::print(
      "\nerrors against the source, worst first\n{:<50} {:<14} {:>9} {:>9} {:>8} {:>9} {:>6}\n",
      "tensor", "stored", "rms", "largest", "SQNR dB", "clipped", "flat");
  for (std::size_t i = 0; i < shown; ++i) {
    const TensorError& e = errors[i];
    const std::string stored =
        e.affine ? fmt::format("{} bits, g{}", e.affine->bits, e.affine->group) : "float";
    const std::string sqnr = std::isfinite(e.sqnr_db) ? fmt::format("{:.1f}", e.sqnr_db) : "exact";
    fmt::print("{:<50} {:<14} {:>9.3g} {:>9.3g} {:>8} {:>9} {:>6}\n", e.name, stored, e.rms,
               e.largest, sqnr, e.clipped_groups, e.flat_groups);
  }
  if (shown < errors.size()) {
    fmt::print("and {} more (--tensors lists all)\n", errors.size() - shown);
  }
}

void print_json(const MeasuredDirectory& m, const std::vector<StorageRow>& rows,
                const std::string& hash, const std::string& recipe,
                const std::vector<TensorError>& errors) {
  Json files = Json::array();
  for (const fs::path& file : m.files) files.push_back(file.filename().string());
  Json json{{"model_type", m.config.model_type},
            {"parameters", m.parameters},
            {"tensor_bytes", m.tensor_bytes},
            {"bits_per_weight", m.bits_per_weight()},
            {"recipe", recipe.empty() ? Json() : Json(recipe)},
            {"plan_hash", hash},
            {"quantization", quantization_map(m.config)},
            {"files", files},
            {"tensors", storage_json(rows)},
            {"warnings", m.problems}};
  if (!errors.empty()) json["errors"] = errors_json(errors);
  fmt::print("{}\n", dump_json(json, 2, false, true));
}

void print_text(const MeasuredDirectory& m, const std::vector<StorageRow>& rows,
                const std::string& hash, const std::string& recipe, const std::string& name,
                bool tensors) {
  const ModelConfig& c = m.config;
  fmt::print("{}: {}, {} layers, hidden {}, {} heads ({} key-value) of {}, vocabulary {}{}\n", name,
             c.model_type, c.num_hidden_layers, c.hidden_size, c.num_attention_heads,
             c.num_key_value_heads, c.head_dim, c.vocab_size,
             c.tie_word_embeddings ? ", head tied to the embeddings" : "");
  fmt::print(
      "{:.1f} M parameters, {} ({} bytes) in {} file{}, {:.3f} bits per weight, {}plan {}\n\n",
      static_cast<double>(m.parameters) / 1e6, bytes_text(m.tensor_bytes), m.tensor_bytes,
      m.files.size(), m.files.size() == 1 ? "" : "s", m.bits_per_weight(),
      recipe.empty() ? "" : recipe + ", ", hash.substr(0, 12));
  if (tensors) {
    for (const StorageRow& row : rows) {
      const std::string storage =
          row.group_size ? fmt::format("{} {} bits, group {}", row.mode, row.bits, *row.group_size)
                         : fmt::format("{} bits, {}", row.bits, row.mode);
      fmt::print("{:<50} {:<18} {:<24} {:>12}\n", row.name, shape_text(row.shape), storage,
                 row.bytes);
    }
  } else {
    const std::vector<SummaryItem> items = summary_items(m);
    fmt::print("{}", summary_table(summarize(items), c.num_hidden_layers));
  }
  fmt::print("\n");
  if (m.problems.empty()) fmt::print("no problems found\n");
  for (const std::string& problem : m.problems) fmt::print("problem: {}\n", problem);
}

void run(const InspectFlags& o) {
  if (o.as_recipe && (o.tensors || o.output.json)) {
    throw UsageError("--as-recipe prints a recipe file, expected neither --tensors nor --json");
  }
  if (o.errors == o.source.empty()) {
    throw UsageError("--errors and --source SRC belong together: errors against the source");
  }
  const fs::path directory = resolve_model(o.model);
  const std::string name = fs::weakly_canonical(directory).filename().string();
  MeasuredDirectory measured = measure_directory(directory);
  if (o.as_recipe) {
    fmt::print("{}\n", dump_json(recipe_of(measured, name), 2, false, false));
    return;
  }
  const std::vector<StorageRow> rows = measured.storage();
  const std::string hash = storage_hash(rows);
  const std::string recipe = recorded_recipe(directory, hash, measured.problems);
  std::vector<TensorError> errors;
  if (o.errors) {
    const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
    errors = measure_errors(directory, resolve_model(o.source), *pool, o.output.quiet);
  }
  if (o.output.json) {
    print_json(measured, rows, hash, recipe, errors);
  } else {
    print_text(measured, rows, hash, recipe, name, o.tensors && !o.errors);
    if (o.errors) print_errors(errors, o.tensors);
  }
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto options = std::make_shared<InspectFlags>();
  InspectFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "inspect", "what a model directory holds, measured: widths, bits per weight, problems");
  verb->add_option("DIR", o.model, "model directory, or cached Hub id")->required();
  verb->add_flag("--tensors", o.tensors, "one line per tensor instead of the summary");
  verb->add_flag("--as-recipe", o.as_recipe, "print a recipe file that gives the same map");
  verb->add_flag("--errors", o.errors,
                 "RMS and largest error, SQNR, clipped and flat groups of every tensor");
  verb->add_option("--source", o.source, "with --errors: what it was made from");
  add_compute_options(*verb, o.compute);
  add_output_options(*verb, o.output);
  set_example(*verb, "qx inspect models/Qwen3-8B-qx63-hi --as-recipe > mine.json");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
