// qx search: the bits of every tensor under a budget, as a recipe.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/build_info.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "base/utc_time.h"
#include "distance/passes.h"
#include "distance_options.h"
#include "fit/calibration_file.h"
#include "io/staged.h"
#include "model/memory_need.h"
#include "options.h"
#include "runs/model_facts.h"
#include "search/search.h"
#include "sensitivity/measure.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct SearchFlags {
  std::string model, calibration, sensitivity, budget, target, text, format = "auto", alike;
  double skip = 0, share = 1;
  std::int64_t windows = 16, ctx = 512;
  int candidates = 12;
  bool chat = false, force = false, allow_swap = false;
  std::vector<std::string> keep, compare;
  SearchRules rules;
  std::string precision, fit = "gptq";
  ComputeOptions compute;
  OutputOptions out;
};

void check(const SearchFlags& o) {
  require_text_part(o.skip, o.share);
  if (!o.target.ends_with(".json")) {
    throw UsageError(
        fmt::format("-o: got '{}', expected a recipe file, a name that ends in .json", o.target));
  }
  if (o.sensitivity.empty() && o.calibration.empty()) {
    throw UsageError("expected --calibration, as qx calibrate writes it, or --sensitivity");
  }
  if (o.text.empty() && !o.compare.empty()) {
    throw UsageError("--compare measures recipes, which needs --text");
  }
  if (!o.text.empty()) const MappedFile readable(o.text);
}

// RECIPE.search.json beside RECIPE.json.
fs::path record_file(const SearchFlags& o) {
  return fs::path(o.target).replace_extension(".search.json");
}

// RECIPE.sensitivity.json beside RECIPE.json: made where --sensitivity names no other.
fs::path own_sensitivity_file(const SearchFlags& o) {
  return fs::path(o.target).replace_extension(".sensitivity.json");
}

void require_same_calibration(const Sensitivity& s, const SearchFlags& o, const fs::path& file) {
  if (o.calibration.empty() || s.fit == "minmax") return;
  if (const std::string own = sha256_file(o.calibration); own != s.calibration_sha256) {
    fail(file.string(),
         "was made with a calibration of SHA-256 {}, expected that of {}, {}; run qx sensitivity "
         "with it",
         s.calibration_sha256.substr(0, 12), o.calibration, own.substr(0, 12));
  }
}

SearchSettings make_settings(const SearchFlags& o, const ModelConfig& config,
                             const std::string& fit, const PlanSpace& space) {
  SearchSettings settings;
  settings.budget = o.budget;
  settings.budget_bytes = parse_budget(o.budget, config, space.dtype());
  settings.candidates = o.candidates;
  settings.compare = o.compare;
  settings.method = parse_fit_method(fit);
  settings.quiet = o.out.quiet;
  check_settings(space, config, settings);
  return settings;
}

// What is wrong with the command line whatever the costs are, before they are measured for a long time.
void check_before_measuring(const SearchFlags& o, const SensitivityRequest& request) {
  const ModelConfig config = load_model_config(request.model);
  make_settings(o, config, o.fit,
                PlanSpace(config, codes_without_costs(request), o.rules, o.model));
}

// From the file, or measured and written beside the recipe.
Sensitivity obtain_sensitivity(const SearchFlags& o, const fs::path& model, const fs::path& file,
                               ThreadPool& pool) {
  if (o.sensitivity.empty() && !fs::exists(file)) {
    SensitivityRequest request;
    request.model = model;
    request.calibration = o.calibration;
    request.fit = parse_fit_method(o.fit);
    request.quiet = o.out.quiet;
    check_before_measuring(o, request);
    require_memory("search", model, o.ctx, KvBits::k32, o.allow_swap, {.rows = o.ctx});
    const SensitivityReport report = measure_sensitivity(request, pool);
    for (const std::string& note : report.notes) fmt::print(stderr, "qx search: {}\n", note);
    write_sensitivity(file, report.result, o.force);
    return report.result;
  }
  Sensitivity sensitivity = read_sensitivity(file);
  if (o.sensitivity.empty() && sensitivity.fit != o.fit) {
    fail(file.string(), "was made for {} codes, expected those of --fit {}", sensitivity.fit,
         o.fit);
  }
  require_same_calibration(sensitivity, o, file);
  return sensitivity;
}

Json rules_json(const SearchRules& rules) {
  Json keep = Json::array();
  for (const KeepRule& k : rules.keep) {
    keep.push_back({{"pattern", k.pattern},
                    {"bits", k.bits == 0 ? Json("float") : Json(k.bits)},
                    {"group_size", k.group == 0 ? Json() : Json(k.group)}});
  }
  return {{"min_bits", rules.min_bits},
          {"max_bits", rules.max_bits},
          {"bits", rules.bits},
          {"groups", rules.groups},
          {"keep", std::move(keep)},
          {"max_widths", rules.max_widths},
          {"symmetric", alike_name(rules.alike)}};
}

MeterRequest meter_request(const SearchFlags& o, const FitRequest& fit, const fs::path& model) {
  MeterRequest request;
  request.model = model;
  request.fit = fit;
  request.text.text.file = o.text;
  request.text.text.format = parse_text_format(o.format);
  request.text.text.chat = o.chat;
  request.text.text.rules.ctx = o.ctx;
  request.text.skip = o.skip;
  request.text.share = o.share;
  request.text.windows = o.windows;
  request.precision = parse_precision(o.precision);
  request.quiet = o.out.quiet;
  return request;
}

Json meter_text_json(const PlanMeter& meter, const SearchFlags& o) {
  const MeasuredText& text = meter.text();
  return {{"file", text.request.file.filename().string()},
          {"sha256", text.sha256},
          {"windows", text.windows.size()},
          {"ctx", text.request.rules.ctx},
          {"tokens_measured", text.targets()},
          {"first_token", text.windows.front().begin},
          {"last_token", text.windows.back().end},
          {"chat", text.conversations},
          {"overlaps_calibration", meter.overlaps_calibration()},
          {"precision", precision_name(parse_precision(o.precision))},
          {"base_perplexity", meter.base_perplexity()}};
}

SearchRecord make_record(const SearchFlags& o, const Sensitivity& sensitivity,
                         const PlanSpace& space, const SearchSettings& settings,
                         const SearchFound& found) {
  SearchRecord r;
  r.recipe = fs::path(o.target).filename().string();
  r.model_path = o.model;
  r.weights = sensitivity.weights;
  r.calibration_sha256 = sensitivity.calibration_sha256;
  r.fit = sensitivity.fit;
  r.damping = sensitivity.damping;
  r.budget = settings.budget;
  r.budget_bytes = settings.budget_bytes;
  r.rules = rules_json(o.rules);
  r.exact = space.exact();
  r.chosen = found.name;
  r.plan_hash = found.best.plan.plan_hash();
  r.bytes = found.best.plan.tensor_bytes;
  r.bits_per_weight = found.best.plan.bits_per_weight;
  r.predicted = found.best.predicted;
  r.curve = found.curve;
  r.measured = found.measured;
  r.created = utc_now();
  r.version = build_info().version;
  return r;
}

const SearchMeasurement* chosen_measurement(const SearchRecord& r) {
  for (const SearchMeasurement& m : r.measured) {
    if (m.kind == "candidate" && m.plan_hash == r.plan_hash) return &m;
  }
  return nullptr;
}

std::string number_or_empty(const std::optional<double>& value, int decimals) {
  return value ? fmt::format("{:.{}f}", *value, decimals) : "";
}

void print_found(const SearchFlags& o, const SearchRecord& r, const Plan& plan) {
  if (!r.measured.empty()) {
    fmt::print("{:<44} {:>12} {:>6} {:>9} {:>9} {:>8} {:>7} {:>9}\n", "measured", "bytes", "bits",
               "predicted", "KL", "±", "top-1", "ppl");
    for (const SearchMeasurement& m : r.measured) {
      const std::string name = m.kind == "recipe" ? m.name + ", " + m.codes : m.name;
      fmt::print("{:<44} {:>12} {:>6.3f} {:>9} {:>9.5f} {:>8} {:>6.2f}% {:>9.3f}\n", name, m.bytes,
                 m.bits_per_weight, number_or_empty(m.predicted, 5), m.kl,
                 number_or_empty(m.kl_stderr, 5), 100 * m.top1, m.perplexity);
    }
    fmt::print("KL(model || plan) in nats a token over {} windows of {} tokens.\n",
               r.text["windows"].get<std::int64_t>(), r.text["ctx"].get<std::int64_t>());
  }
  const std::vector<SummaryItem> items = summary_items(plan);
  std::int64_t count = 0;
  for (const PlanRow& row : plan.rows) count = std::max<std::int64_t>(count, row.tensor.layer + 1);
  fmt::print("\n{}", summary_table(summarize(items), count));
  fmt::print("\n{}: {} bytes of at most {}, {:.3f} bits per weight, plan {}\n", o.target, r.bytes,
             r.budget_bytes, r.bits_per_weight, r.plan_hash.substr(0, 12));
  const SearchMeasurement* m = chosen_measurement(r);
  if (m == nullptr) {
    fmt::print("predicted KL {:.5f}; nothing was measured (--text measures)\n", r.predicted);
    return;
  }
  fmt::print("{}: predicted KL {:.5f}, measured {:.5f} ± {} (measured over predicted {:.2f})\n",
             r.chosen, r.predicted, m->kl, number_or_empty(m->kl_stderr, 5),
             m->kl / std::max(r.predicted, 1e-300));
  fmt::print(
      "The choice was made on these windows; measure the final figure on others (qx "
      "divergence).\n");
}

void run(const SearchFlags& o) {
  check(o);
  const fs::path model = resolve_model(o.model);
  require_absent(o.target, o.force);
  require_absent(record_file(o), o.force);
  const fs::path costs = o.sensitivity.empty() ? own_sensitivity_file(o) : fs::path(o.sensitivity);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const Sensitivity sensitivity = obtain_sensitivity(o, model, costs, *pool);
  const std::map<std::string, std::string> files = measure_model(model).files;
  require_same_weights(sensitivity, files, costs.string(), model);
  const ModelConfig config = load_model_config(model);
  const PlanSpace space(config, sensitivity, o.rules, costs.string());
  const SearchSettings settings = make_settings(o, config, sensitivity.fit, space);
  std::optional<PlanMeter> meter;
  if (!o.text.empty()) {
    if (settings.method != FitMethod::kMinMax && o.calibration.empty()) {
      throw UsageError(
          fmt::format("--text measures {} codes, which needs --calibration", sensitivity.fit));
    }
    FitRequest fit;
    fit.method = settings.method;
    if (fit.method != FitMethod::kMinMax) fit.calibration = o.calibration;
    fit.damping = sensitivity.damping;
    require_memory("search", model, o.ctx + kPassTokens, KvBits::k32, o.allow_swap,
                   {.rows = kPassTokens});
    meter.emplace(meter_request(o, fit, model), *pool);
    if (meter->overlaps_calibration()) {
      fmt::print(stderr,
                 "qx search: warning: {} was read by the calibration too, in these places; the "
                 "choice may favour it (--skip, --share)\n",
                 o.text);
    }
  }
  const SearchFound found = search_plan(space, config, settings, meter ? &*meter : nullptr);
  SearchRecord record = make_record(o, sensitivity, space, settings, found);
  if (meter) record.text = meter_text_json(*meter, o);
  const std::string name = fs::path(o.target).stem().string();
  const std::string description = fmt::format(
      "Bits by qx search under a budget of {} ({} bytes): {} bytes, predicted KL {:.4g} nats a "
      "token with {} codes.",
      o.budget, settings.budget_bytes, record.bytes, record.predicted, record.fit);
  const Json recipe =
      recipe_of_plan(found.best.plan, config, name, description, "search: least predicted KL");
  write_file_atomic(o.target, dump_json(recipe, 1, false, false) + "\n", o.force);
  write_file_atomic(record_file(o), dump_json(search_json(record), 1, false, false) + "\n",
                    o.force);
  if (o.out.json) {
    fmt::print("{}\n", dump_json(search_json(record), 2, false, false));
  } else {
    print_found(o, record, found.best.plan);
  }
}

void add_rule_options(CLI::App& verb, SearchFlags& o) {
  verb.add_option("--min-bits", o.rules.min_bits, "no tensor below this width")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 8}))
      ->capture_default_str();
  verb.add_option("--max-bits", o.rules.max_bits, "no tensor above this width")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 8}))
      ->capture_default_str();
  verb.add_option("--bits", o.rules.bits, "only these widths, such as 4,6,8 (default: all)")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 8}))
      ->delimiter(',');
  verb.add_option("--groups", o.rules.groups, "only these group sizes (default: 32,64,128)")
      ->check(CLI::IsMember({32, 64, 128}))
      ->delimiter(',');
  verb.add_option("--keep", o.keep,
                  "PATTERN=BITS, PATTERN=BITS/GROUP or PATTERN=float: the tensors that it fits are "
                  "not searched; several are allowed")
      ->expected(1)
      ->take_all();
  verb.add_option("--max-widths", o.rules.max_widths, "at most so many distinct widths")
      ->check(CLI::Range(1, 6));
  verb.add_option("--symmetric", o.alike,
                  "tensors with one code: inputs (those of a layer that read the same: q k v; gate "
                  "up), roles (each role in all layers)")
      ->check(CLI::IsMember({"none", "inputs", "roles"}));
}

void add_measuring_options(CLI::App& verb, SearchFlags& o) {
  CLI::Option* text =
      verb.add_option("--text", o.text,
                      "measure candidates on this text; not the one that the final figure is for");
  add_text_part_options(verb, o.format, o.chat, o.skip, o.share);
  verb.add_option("--windows", o.windows, "windows at most, spread evenly over that part")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
  verb.add_option("--ctx", o.ctx, "tokens of a window, of which the second half counts")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20))
      ->capture_default_str();
  verb.add_option("--candidates", o.candidates, "plans to measure for the budget at most")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  verb.add_option("--compare", o.compare,
                  "also measure these recipes as MLX codes them, and the plan of the same bytes")
      ->delimiter(',');
  add_precision_option(verb, o.precision);
  for (const char* name :
       {"--text-format", "--chat", "--skip", "--share", "--windows", "--ctx", "--candidates"}) {
    verb.get_option(name)->needs(text);
  }
}

}  // namespace

void add_search(CLI::App& app) {
  auto options = std::make_shared<SearchFlags>();
  SearchFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "search", "find the bits of every tensor under a budget of bytes, as a recipe");
  verb->add_option("-m,--model", o.model, "model directory with float weights, or cached Hub id")
      ->required();
  verb->add_option("--budget", o.budget,
                   "bytes of all stored tensors at most: 80.9MB, 4.6bpw (bits per weight), or "
                   "like:RECIPE (as that recipe takes)")
      ->required();
  verb->add_option("-o,--output", o.target, "the recipe file to write (.json)")->required();
  verb->add_option("--calibration", o.calibration,
                   "what qx calibrate wrote: for measuring candidates, and for sensitivities");
  verb->add_option("--sensitivity", o.sensitivity,
                   "what qx sensitivity wrote (default: RECIPE.sensitivity.json beside the recipe, "
                   "measured where it is not there)");
  verb->add_option("--fit", o.fit, "whose codes, where sensitivities are to be measured")
      ->check(CLI::IsMember({"minmax", "mse", "gptq"}))
      ->capture_default_str();
  add_rule_options(*verb, o);
  add_measuring_options(*verb, o);
  verb->add_flag("--force", o.force, "replace existing files");
  add_compute_options(*verb, o.compute);
  add_memory_option(*verb, o.allow_swap);
  add_output_options(*verb, o.out);
  set_example(*verb,
              "qx search -m models/base --calibration base.calibration --budget like:q4-hi --text "
              "wiki.txt --skip 0.4 --share 0.2 -o best.json");
  verb->callback([options] {
    for (const std::string& keep : options->keep) options->rules.keep.push_back(parse_keep(keep));
    for (const Alike alike : {Alike::kInputs, Alike::kRoles}) {
      if (options->alike == alike_name(alike)) options->rules.alike = alike;
    }
    run(*options);
  });
}

}  // namespace qx::cli
