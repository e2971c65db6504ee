// qx bench: how fast a model runs here, and how near that is to what the machine can do.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "arch/shapes.h"
#include "base/build_info.h"
#include "base/error.h"
#include "base/utc_time.h"
#include "bench_run.h"
#include "io/staged.h"
#include "kernels/api.h"
#include "machine/peaks.h"
#include "model/cpu_model.h"
#include "model/memory_need.h"
#include "model/random_weights.h"
#include "options.h"
#include "recipe/plan.h"
#include "runs/measurements.h"
#include "runs/model_facts.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct BenchFlags {
  std::string model, random, precision, output;
  bool force = false, no_peaks = false, allow_swap = false;
  std::uint64_t seed = 0;
  BenchSettings settings;
  OutputOptions out;
  ComputeOptions compute;
};

// SHAPE:RECIPE
Plan random_plan(const BenchFlags& o, ModelConfig& config) {
  const std::size_t colon = o.random.find(':');
  if (colon == std::string::npos || colon + 1 == o.random.size()) {
    throw UsageError(
        fmt::format("--random: got '{}', expected SHAPE:RECIPE as qwen3-0.6b:q4-hi", o.random));
  }
  try {
    config = shape_config(o.random.substr(0, colon));
  } catch (const UsageError& e) {
    throw UsageError(fmt::format("--random: {}", e.what()));
  }
  PlanRequest request;
  request.recipe = o.random.substr(colon + 1);
  return make_plan(config, request);
}

struct Subject {
  std::unique_ptr<ModelWeights> weights;
  std::string name;
  std::int64_t tensor_bytes = 0;
};

void check_length(const BenchSettings& settings, const ModelConfig& config) {
  // Each alone first: the sum of two could overflow.
  const std::int64_t most = config.max_position_embeddings;
  if (std::max({settings.prompt, settings.depth, settings.generate}) > most ||
      settings.depth + settings.generate > most) {
    throw UsageError(
        fmt::format("-p, -n, --depth: expected no more tokens than the model's {}", most));
  }
}

std::int64_t positions(const BenchSettings& settings) {
  return std::max(settings.prompt, settings.depth + settings.generate);
}

Subject load_subject(const BenchFlags& o, ThreadPool& pool) {
  Subject s;
  if (!o.random.empty()) {
    ModelConfig config;
    const Plan plan = random_plan(o, config);
    check_length(o.settings, config);
    const std::string warning =
        check_memory(o.random, memory_needs(config, plan.tensor_bytes, positions(o.settings)),
                     positions(o.settings), limited_memory(), o.allow_swap);
    if (!warning.empty()) fmt::print(stderr, "qx bench: warning: {}\n", warning);
    s.name = o.random;
    s.tensor_bytes = plan.tensor_bytes;
    s.weights = random_weights(config, plan, {o.seed, o.out.quiet}, pool);
    return s;
  }
  const fs::path directory = resolve_model(o.model);
  s.name = directory.string();
  check_length(o.settings, load_model_config(directory));
  require_memory("bench", directory, positions(o.settings), KvBits::k32, o.allow_swap);
  s.weights = load_weights(directory);
  for (const TensorView* view : s.weights->files->tensors()) {
    s.tensor_bytes += static_cast<std::int64_t>(view->data.size());
  }
  return s;
}

Json conditions_json() {
  const BuildInfo& build = build_info();
  double load[1] = {0};
  const bool known = ::getloadavg(load, 1) == 1;
  return {{"date", utc_now()},
          {"version", build.version},
          {"commit", build.commit},
          {"dirty", build.dirty},
          {"compiler", build.compiler},
          {"physical_cores", physical_cores()},
          {"load_average", known ? Json(load[0]) : Json()}};
}

// Where the measurement is kept; empty when it is not. A run folder takes that of its own model
// only, which is found out before anything is measured.
fs::path record_path(const BenchFlags& o) {
  if (o.output.empty()) return {};
  const fs::path folder = o.output, record = folder / kSpeedFile;
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
    fail(folder.string(), "is a file, expected RUNS/NAME, the folder that {} is to lie in",
         kSpeedFile);
  }
  if (fs::exists(folder / "run.json", error)) {
    if (!o.random.empty()) {
      throw UsageError(fmt::format("-o {}: holds a run, expected -m with its model, not --random",
                                   folder.string()));
    }
    require_run_of_model(folder, model_facts_json(measure_model(resolve_model(o.model))));
  }
  require_absent(record, o.force);
  return record;
}

std::string percent(const Json& share) {
  return share.is_null() ? "-" : fmt::format("{:.0f} %", 100 * share.get<double>());
}

std::string number(const Json& value, int digits) {
  return value.is_null() ? "-" : fmt::format("{:.{}f}", value.get<double>(), digits);
}

void print_text(const Json& d) {
  const Json &pp = d["pp"], &tg = d["tg"], &machine = d["machine"];
  fmt::print("{}: {:.1f} MB of weights, {} kernels, {} threads, precision {}\n",
             d["model"].get<std::string>(), d["tensor_bytes"].get<double>() * 1e-6,
             d["isa"].get<std::string>(), d["threads"].get<int>(),
             d["precision"].get<std::string>());
  fmt::print("{}: reads {} GB/s; multiply-adds {} (8-bit), {} (16-bit), {} (float32) G/s\n",
             machine["cpu"].get<std::string>(), number(machine["read_gbs"], 1),
             number(machine["int8_gmacs"], 0), number(machine["int16_gmacs"], 0),
             number(machine["f32_gmacs"], 0));
  fmt::print("{:<24}{:>10}{:>10}{:>10}  tokens per second\n", "", "median", "min", "max");
  const auto row = [](const std::string& label, const Json& half) {
    fmt::print("{:<24}{:>10}{:>10}{:>10}  ", label, number(half["median_tps"], 1),
               number(half["min_tps"], 1), number(half["max_tps"], 1));
  };
  if (!pp["median_tps"].is_null()) {
    row(fmt::format("prompt, {} tokens", pp["tokens"].get<std::int64_t>()), pp);
    fmt::print(
        "{:.1f} G multiply-adds/s: {} of the 8-bit, {} of the 16-bit, {} of the float32 peak\n",
        pp["gmacs"].get<double>(), percent(pp["share_of_int8"]), percent(pp["share_of_int16"]),
        percent(pp["share_of_f32"]));
  }
  if (!tg["median_tps"].is_null()) {
    row(fmt::format("generation, {} tokens", tg["tokens"].get<std::int64_t>()), tg);
    fmt::print("{:.1f} MB a token, {:.1f} GB/s: {} of the read bandwidth\n",
               tg["bytes_per_token"].get<double>() * 1e-6, tg["gbs"].get<double>(),
               percent(tg["share_of_read"]));
  }
  if (!pp["median_tps"].is_null()) {
    fmt::print("first token after {:.3f} s; from the start of loading {:.3f} s\n",
               pp["time_to_first_token_s"].get<double>(), d["load_to_first_token_s"].get<double>());
  }
  fmt::print("loaded in {:.3f} s, peak memory {:.3f} GB\n", d["load_s"].get<double>(),
             d["peak_rss_bytes"].get<double>() * 1e-9);
}

void run(BenchFlags o) {
  const Precision precision = parse_precision(o.precision);
  if (o.model.empty() == o.random.empty()) {
    throw UsageError("expected either -m DIR or --random SHAPE:RECIPE");
  }
  if (o.settings.prompt == 0 && o.settings.generate == 0) {
    throw UsageError("-p 0 -n 0: got nothing to measure, expected one of them above 0");
  }
  const fs::path record = record_path(o);
  o.settings.quiet = o.out.quiet;
  o.settings.machine = !o.no_peaks;

  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const Json conditions = conditions_json();  // before the machine is busy with this
  const auto start = std::chrono::steady_clock::now();
  Subject subject = load_subject(o, *pool);
  for (const std::string& warning : subject.weights->warnings) {
    fmt::print(stderr, "qx bench: warning: {}\n", warning);
  }
  const TokenCost cost = token_cost(*subject.weights);
  const std::unique_ptr<Model> model = make_cpu_model(std::move(subject.weights), *pool, precision);
  const double load_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  BenchTimes times;
  MachinePeaks peaks;
  run_bench(*model, *pool, o.settings, times, peaks);
  Json document = {
      {"model", subject.name},
      {"weights", o.random.empty() ? "files" : "random"},
      {"tensor_bytes", subject.tensor_bytes},
      {"isa", kernels().name},
      {"threads", pool->threads()},
      {"precision", precision_name(precision)},
      {"repeats", o.settings.repeats},
      {"pp", prompt_json(times, o.settings, cost, peaks)},
      {"tg", generation_json(times, o.settings, cost, peaks)},
      {"machine", machine_json(peaks, pool->threads())},
      {"load_s", load_s},
      {"load_to_first_token_s", o.settings.prompt > 0 ? Json(load_s + times.first_prompt) : Json()},
      {"peak_rss_bytes", times.peak_rss_bytes},
      {"conditions", conditions}};
  if (!record.empty()) {
    // Now, since hashing reads the files, which loading must not find in memory already.
    if (o.random.empty()) {
      document["model_facts"] = model_facts_json(measure_model(resolve_model(o.model)));
    }
    fs::create_directories(record.parent_path());
    write_file_atomic(record, dump_json(document, 2, false, false) + '\n', o.force);
  }
  if (o.out.json) {
    fmt::print("{}\n", dump_json(document, 2, false, false));
  } else {
    print_text(document);
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  auto o = std::make_shared<BenchFlags>();
  CLI::App* verb =
      app.add_subcommand("bench", "speed of a model, as a share of what this machine can do");
  verb->add_option("-m,--model", o->model, "model directory or Hub id");
  verb->add_option("--random", o->random,
                   "SHAPE:RECIPE, random weights in memory, no files. Shapes: " + known_shapes());
  verb->add_option("-p,--prompt-tokens", o->settings.prompt, "tokens of the prompt; 0: no prompt")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->add_option("-n,--gen-tokens", o->settings.generate, "tokens to generate; 0: none")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--depth", o->settings.depth, "tokens in the context before generation begins")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->add_option("-r,--repeats", o->settings.repeats,
                   "repetitions; medians, least and most are reported")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  verb->add_option("--seed", o->seed, "of the random weights")->capture_default_str();
  verb->add_flag("--no-peaks", o->no_peaks, "do not measure the machine (saves 1 GB of memory)");
  verb->add_option("-o,--output", o->output,
                   "also write RUNS/NAME/bench.json, beside the scores of this model's run");
  verb->add_flag("--force", o->force, "replace an existing bench.json");
  add_precision_option(*verb, o->precision);
  add_compute_options(*verb, o->compute);
  add_memory_option(*verb, o->allow_swap);
  add_output_options(*verb, o->out);
  set_example(*verb, "qx bench --random qwen3-0.6b:q4-hi -p 512 -n 128 -r 5");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
