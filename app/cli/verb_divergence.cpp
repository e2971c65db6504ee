// qx divergence: how far the next-token distributions of variants are from a base model's.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>

#include "base/build_info.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/utc_time.h"
#include "distance/divergence.h"
#include "distance/passes.h"
#include "distance_options.h"
#include "eval/named_models.h"
#include "fit/calibration_file.h"
#include "fit/fitted_with.h"
#include "io/staged.h"
#include "kernels/api.h"
#include "model/memory_need.h"
#include "runs/measurements.h"
#include "runs/model_facts.h"
#include "runs/run_folder.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct DivergenceFlags {
  std::vector<std::string> models;
  std::string base, base_cache, output, calibration;
  std::int64_t worst = 10;
  int base_kv_bits = 0;  // 0: as the others
  bool together = false, force = false;
  DistanceOptions distance;
};

// Everything but the models, which come and go.
struct Setup {
  const DivergenceFlags& options;
  Precision precision;
  KvBits kv_bits, base_kv_bits;
  NamedModel base;
  std::vector<NamedModel> variants;
  std::unique_ptr<ThreadPool> pool;
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat;
  MeasuredText text;
  std::map<fs::path, ModelFacts> facts;

  const ChatTemplate* chat_or_null() const { return chat ? &*chat : nullptr; }
  std::unique_ptr<Model> load(const fs::path& directory) const {
    return load_model(directory, *pool, precision, kv_bits);
  }
  std::unique_ptr<Model> load_base() const {
    return load_model(base.directory, *pool, precision, base_kv_bits);
  }
};

// What the base's states depend on. Of the model's files only weights and config: the tokens have a hash
// of their own.
Json states_identity(const Setup& s) {
  const ModelFacts& facts = s.facts.at(s.base.directory);
  Json json;
  json["version"] = build_info().version;
  json["plan_hash"] = facts.plan_hash;
  json["files"] = Json::object();
  for (const auto& [name, hash] : facts.files) {
    if (name == "config.json" || name.ends_with(".safetensors")) json["files"][name] = hash;
  }
  json["tokens_sha256"] = s.text.tokens_sha256;
  json["windows"] = windows_json(s.text);
  json["precision"] = precision_name(s.precision);
  json["kv_bits"] = static_cast<int>(s.base_kv_bits);
  // The one precision whose bits may depend on the instruction set (docs/kernels.md).
  if (s.precision == Precision::kFast) json["kernels"] = kernels().name;
  return json;
}

void require_same_models(const Setup& s) {
  const std::int64_t vocab = load_model_config(s.base.directory).vocab_size;
  for (const NamedModel& variant : s.variants) {
    require_positions(s.text.request, variant.directory);
    require_same_tokens(s.text, s.tokenizer, Tokenizer::load(variant.directory), s.chat_or_null(),
                        variant.directory.string());
    if (const std::int64_t own = load_model_config(variant.directory).vocab_size; own != vocab) {
      fail(variant.directory.string() + "/config.json",
           "got vocab_size {}, expected the base's {}; distributions over different vocabularies "
           "have no divergence",
           own, vocab);
    }
  }
}

// Whether a variant is the base itself, which is at no distance from itself.
bool is_base(const Setup& s, const NamedModel& variant) {
  if (s.kv_bits != s.base_kv_bits) return false;
  return first_model_difference(model_facts_json(s.facts.at(s.base.directory)),
                                model_facts_json(s.facts.at(variant.directory)), {})
      .empty();
}

fs::path record_path(const Setup& s, const NamedModel& variant) {
  return fs::path(s.options.output) / variant.name / kDistanceFile;
}

// Everything that could keep the results from being written, before anything is measured.
void check_output(const Setup& s) {
  if (s.options.output.empty()) return;
  const fs::path runs = s.options.output;
  std::error_code error;
  if (fs::exists(runs, error) && !fs::is_directory(runs, error)) {
    fail(runs.string(), "is a file, expected RUNS, the folder that holds the runs");
  }
  if (fs::exists(runs / "run.json", error)) {
    fail(runs.string(), "is a run itself, expected RUNS, the folder that holds the runs");
  }
  for (const NamedModel& variant : s.variants) {
    if (is_base(s, variant)) continue;
    const fs::path folder = runs / variant.name;
    if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
      fail(folder.string(), "is a file, expected the run of {}", variant.name);
    }
    if (fs::exists(folder / "run.json", error)) {
      require_run_of_model(folder, model_facts_json(s.facts.at(variant.directory)));
    }
    require_absent(record_path(s, variant), s.options.force);
  }
}

std::int64_t states_bytes(const Setup& s) {
  return s.text.targets() * load_model_config(s.base.directory).hidden_size * 4;
}

void require_memory_for_all(const Setup& s) {
  const DistanceOptions& o = s.options.distance;
  if (s.options.together) {
    std::vector<fs::path> all{s.base.directory};
    for (const NamedModel& variant : s.variants) all.push_back(variant.directory);
    require_distance_memory("divergence", all, {}, s.text, 0, o);
    return;
  }
  const bool in_memory = s.options.base_cache.empty();
  const MachineMemory machine = limited_memory();
  if (in_memory && machine.physical > 0 && states_bytes(s) > machine.available / 2) {
    fail(s.base.directory.string(),
         "got {} of the base's states to keep, expected no more than half of the {} that are "
         "available; add --base-cache FILE to keep them on disk, or take fewer --chunks",
         bytes_text(states_bytes(s)), bytes_text(machine.available));
  }
  const std::int64_t kept = in_memory ? states_bytes(s) : 0;
  require_distance_memory("divergence", {&s.base.directory, 1}, {}, s.text, kept, o);
  for (const NamedModel& variant : s.variants) {
    require_distance_memory("divergence", {&variant.directory, 1}, s.base.directory, s.text, kept,
                            o);
  }
}

Setup make_setup(const DivergenceFlags& options) {
  const DistanceOptions& o = options.distance;
  if (options.together && !options.base_cache.empty()) {
    throw UsageError("--together keeps nothing of the base: it excludes --base-cache");
  }
  const Precision precision = parse_precision(o.precision, kDistancePrecision);
  const TextRequest request = make_text_request(o);
  NamedModel base = parse_named_model(options.base);
  std::vector<NamedModel> variants = parse_named_models(options.models);
  require_positions(request, base.directory);
  std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  Tokenizer tokenizer = Tokenizer::load(base.directory);
  std::optional<ChatTemplate> chat = ChatTemplate::load(base.directory);
  MeasuredText text = load_text(request, tokenizer, chat ? &*chat : nullptr);
  Setup s{options,
          precision,
          parse_kv_bits(o.kv_bits),
          parse_kv_bits(options.base_kv_bits > 0 ? options.base_kv_bits : o.kv_bits),
          std::move(base),
          std::move(variants),
          std::move(pool),
          std::move(tokenizer),
          std::move(chat),
          std::move(text),
          {}};
  require_same_models(s);
  require_memory_for_all(s);
  s.facts[s.base.directory] = measure_model(s.base.directory);
  for (const NamedModel& v : s.variants) s.facts[v.directory] = measure_model(v.directory);
  check_output(s);
  return s;
}

bool states_exist(const Setup& s) {
  return !s.options.base_cache.empty() && fs::exists(s.options.base_cache) && !s.options.force;
}

BaseStates base_states(const Setup& s, const OnTokens& on_tokens) {
  const Json identity = states_identity(s);
  if (states_exist(s)) {
    BaseStates states = BaseStates::load(s.options.base_cache, identity);
    const std::int64_t width = load_model_config(s.base.directory).hidden_size;
    if (states.rows() != s.text.targets() || states.width() != width) {
      fail(s.options.base_cache, "got {} rows of {}, expected {} of {}", states.rows(),
           states.width(), s.text.targets(), width);
    }
    return states;
  }
  const std::unique_ptr<Model> base = s.load_base();
  StatesWriter writer(s.options.base_cache, identity, s.text.targets(), base->config().hidden_size);
  store_base_states(*base, s.text, kPassTokens, writer, on_tokens);
  return writer.commit();
}

std::vector<Divergence> measure(const Setup& s) {
  const std::size_t count = s.variants.size();
  const std::size_t passes = count + (states_exist(s) ? 0 : 1);
  Progress progress("divergence", static_cast<std::uint64_t>(count_reads(s.text.windows)) * passes,
                    "tokens", s.options.distance.out.quiet);
  const OnTokens on_tokens = [&](std::int64_t tokens) {
    progress.advance(static_cast<std::uint64_t>(tokens));
  };
  const DivergenceRules rules{kPassTokens, static_cast<std::size_t>(s.options.worst)};
  std::vector<std::string> names;
  for (const NamedModel& variant : s.variants) names.push_back(variant.name);
  if (s.options.together) {
    const std::unique_ptr<Model> base = s.load_base();
    std::vector<std::unique_ptr<Model>> models;
    std::vector<Model*> pointers;
    for (const NamedModel& variant : s.variants) {
      models.push_back(s.load(variant.directory));
      pointers.push_back(models.back().get());
    }
    return measure_divergence(*base, nullptr, pointers, names, s.text, rules, *s.pool, on_tokens);
  }
  progress.note(s.base.name);
  const BaseStates states = base_states(s, on_tokens);
  // Loaded anew, so that of its mapped weights only the head is touched from here on.
  const std::unique_ptr<Model> base = s.load_base();
  std::vector<Divergence> all;
  for (std::size_t v = 0; v < count; ++v) {
    progress.note(names[v]);
    const std::unique_ptr<Model> variant = s.load(s.variants[v].directory);
    Model* pointer = variant.get();
    std::vector<Divergence> one = measure_divergence(*base, &states, {&pointer, 1}, {&names[v], 1},
                                                     s.text, rules, *s.pool, on_tokens);
    all.push_back(std::move(one.front()));
  }
  return all;
}

// Fitted codes are judged too well on text that they were fitted to.
Json calibration_overlap(const Setup& s) {
  const bool quiet = s.options.distance.out.quiet;
  for (const NamedModel& v : s.variants) {
    const FittedWith fit = fitted_with(v.directory);
    if (fit.sha256.empty() || !s.options.calibration.empty() || quiet) continue;
    fmt::print(stderr,
               "qx divergence: {} was fitted to {}; give that calibration (--calibration) to learn "
               "whether this text was in it\n",
               v.name, fit.text.empty() ? "a text" : escape_controls(fit.text));
  }
  if (s.options.calibration.empty()) return {};
  const Calibration calibration(s.options.calibration);
  for (const NamedModel& v : s.variants) {
    const FittedWith fit = fitted_with(v.directory);
    if (fit.sha256.empty() || fit.sha256 == calibration.sha256()) continue;
    fail(s.options.calibration, "got a calibration of SHA-256 {}, expected that of {}, {}",
         calibration.sha256().substr(0, 12), v.name, fit.sha256.substr(0, 12));
  }
  std::string measured;
  for (const Window& w : s.text.windows) {
    const std::span<const TokenId> tokens(s.text.tokens);
    measured += s.tokenizer.decode(tokens.subspan(static_cast<std::size_t>(w.begin),
                                                  static_cast<std::size_t>(w.end - w.begin)),
                                   DecodeSpecial::kSkip);
    measured += '\n';
  }
  const NgramSketch sketch = calibration.ngrams();
  const NgramOverlap overlap = sketch.overlap(measured);
  if (overlap.shared > 0) {
    fmt::print(stderr,
               "qx divergence: warning: {} of the {} runs of {} words measured are in the "
               "calibration text too\n",
               overlap.shared, overlap.ngrams, kNgramWords);
  }
  return {{"calibration_sha256", calibration.sha256()},
          {"recorded", !sketch.hashes().empty()},
          {"ngrams", overlap.ngrams},
          {"shared", overlap.shared}};
}

// overlap: as calibration_overlap() gave it, null for none.
Json document(const Setup& s, const std::vector<Divergence>& results, const Json& overlap) {
  Json json;
  json["variants"] = Json::object();
  for (std::size_t v = 0; v < results.size(); ++v) {
    Json entry = divergence_json(results[v], s.text, s.tokenizer);
    if (v == 0) {
      Json base;
      for (const char* key : {"ppl_base", "ppl_base_stderr", "ppl_base_stderr_windows"}) {
        base[std::string("ppl") + (key + 8)] = entry[key];
      }
      base["name"] = s.base.name;
      base["model"] = model_facts_json(s.facts.at(s.base.directory));
      json["base"] = std::move(base);
    }
    entry["model"] = model_facts_json(s.facts.at(s.variants[v].directory));
    json["variants"][s.variants[v].name] = std::move(entry);
  }
  json["tokens"] = s.text.targets();
  json["windows"] = windows_json(s.text);
  json["text"] = text_json(s.text);
  json["base_states"] = s.options.together             ? "none: the base runs along"
                        : s.options.base_cache.empty() ? "memory"
                                                       : s.options.base_cache;
  if (!overlap.is_null()) json["calibration_overlap"] = overlap;
  put_run_facts(json, s.options.distance, *s.pool);
  if (s.base_kv_bits != s.kv_bits) json["base_kv_bits"] = static_cast<int>(s.base_kv_bits);
  // Of one variant, its fields stand at the top as well.
  if (results.size() == 1) {
    const Json only = json["variants"].front();
    for (const auto& [key, value] : only.items()) {
      if (!json.contains(key)) json[key] = value;
    }
  }
  return json;
}

// RUNS/NAME/divergence.json: what --json prints for one variant, with its name and the date.
void write_records(const Setup& s, const Json& json) {
  if (s.options.output.empty()) return;
  for (const NamedModel& variant : s.variants) {
    const fs::path record = record_path(s, variant);
    if (is_base(s, variant)) {
      fmt::print(stderr, "qx divergence: {} is the base itself: no {}\n", variant.name,
                 record.string());
      continue;
    }
    Json own = {{"name", variant.name}, {"date", utc_now()}};
    for (const auto& [key, value] : json["variants"][variant.name].items()) own[key] = value;
    for (const auto& [key, value] : json.items()) {
      if (key != "variants" && !own.contains(key)) own[key] = value;
    }
    parse_distance(own, record.string());  // what is written can be read
    fs::create_directories(record.parent_path());
    write_file_atomic(record, dump_json(own, 2, false, false) + "\n", s.options.force);
  }
}

std::string top_text(const Json& top) {
  std::string text;
  for (const Json& t : top) {
    text += fmt::format("{}\"{}\" {:.3f}", text.empty() ? "" : ", ",
                        escape_controls(t["text"].get<std::string>()), t["p"].get<double>());
  }
  return text;
}

double number_or_nan(const Json& value) {
  return value.is_number() ? value.get<double>() : std::nan("");
}

void print_worst(const std::string& name, const Json& entry) {
  if (entry["worst"].empty()) return;
  fmt::print("\nlargest divergence of {}\n", name);
  for (const Json& place : entry["worst"]) {
    fmt::print(
        "  {:8.4f} nats at token {}: \"..{}\" then \"{}\" (p {:.4f} in the base, {:.4f})\n"
        "           base {}\n           here {}\n",
        place["kl"].get<double>(), place["token"].get<std::int64_t>(),
        escape_controls(place["context"].get<std::string>()),
        escape_controls(place["text"].get<std::string>()), place["p_base"].get<double>(),
        place["p"].get<double>(), top_text(place["top_base"]), top_text(place["top"]));
  }
}

void print_table(const Setup& s, const Json& json) {
  const auto number = [](const Json& entry, const char* key) { return number_or_nan(entry[key]); };
  std::size_t width = s.base.name.size();
  for (const NamedModel& v : s.variants) width = std::max(width, v.name.size());
  fmt::print("{:<{}}  {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}  {:>6} {:>5}  {:>6} {:>5}  {:>9} {:>8}\n",
             "model", width, "KL", "± tokens", "± windows", "median", "p95", "p99", "top-1", "±",
             "Δp rms", "±", "ppl", "±");
  fmt::print(
      "{:<{}}  {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}  {:>6} {:>5}  {:>6} {:>5}  {:>9.4f} "
      "{:>8}\n",
      s.base.name, width, "base", "", "", "", "", "", "", "", "", "", number(json["base"], "ppl"),
      number_text(number(json["base"], "ppl_stderr_windows"), 4));
  for (const auto& [name, e] : json["variants"].items()) {
    fmt::print(
        "{:<{}}  {:>8.5f} {:>9} {:>9} {:>9.5f} {:>9.5f} {:>9.5f}  {:>5.2f}% {:>5}  {:>5.2f}% {:>5} "
        " "
        "{:>9.4f} {:>8}\n",
        name, width, number(e, "kl_mean"), number_text(number(e, "kl_stderr"), 5),
        number_text(number(e, "kl_stderr_windows"), 5), number(e, "kl_median"), number(e, "kl_p95"),
        number(e, "kl_p99"), 100 * number(e, "top1_agreement"),
        number_text(100 * number(e, "top1_agreement_stderr_windows"), 2),
        100 * number(e, "delta_p_rms"),
        number_text(100 * number(e, "delta_p_rms_stderr_windows"), 2), number(e, "ppl"),
        number_text(number(e, "ppl_stderr_windows"), 4));
  }
  fmt::print(
      "KL(base || model) in nats a token. ± windows (and ± alone): windows are independent, "
      "tokens of one are not.\n{}",
      run_facts_text(s.options.distance, *s.pool, s.text));
  for (const auto& [name, entry] : json["variants"].items()) print_worst(name, entry);
}

void run(const DivergenceFlags& options) {
  const Setup setup = make_setup(options);
  const Json overlap = calibration_overlap(setup);
  const Json json = document(setup, measure(setup), overlap);
  write_records(setup, json);
  if (options.distance.out.json) {
    fmt::print("{}\n", dump_json(json, 2, false, false));
  } else {
    print_table(setup, json);
  }
}

}  // namespace

void add_divergence(CLI::App& app) {
  auto o = std::make_shared<DivergenceFlags>();
  CLI::App* verb = app.add_subcommand(
      "divergence", "KL divergence and agreement of next-token distributions with a base model's");
  verb->add_option("-m,--model", o->models,
                   "model directory, Hub id, or NAME=DIR; several for several variants")
      ->required()
      ->expected(1)
      ->take_all();
  verb->add_option("--base", o->base, "the model that they are compared with")->required();
  verb->add_option(
          "--base-kv-bits", o->base_kv_bits,
          "bits of the base's keys and values (default: --kv-bits); the distance of a model "
          "from itself is then what fewer bits do")
      ->check(CLI::IsMember({32, 16, 8, 4}));
  verb->add_option("--calibration", o->calibration,
                   "of fitted variants: their calibration, to count what of this text was in it");
  verb->add_option(
      "--base-cache", o->base_cache,
      "keep the base's final states in this file, or take them from it when it is there");
  verb->add_option("-o,--output", o->output,
                   "also write RUNS/NAME/divergence.json for each variant, beside its scores");
  verb->add_flag("--force", o->force, "replace the --base-cache file and existing divergence.json");
  verb->add_flag("--together", o->together,
                 "load all models at once and keep nothing of the base; the same result");
  verb->add_option("--worst", o->worst, "how many places of largest divergence to show")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  add_distance_options(*verb, o->distance);
  set_example(*verb,
              "qx divergence -m models/q4-hi -m models/qx63-hi --base models/bf16 --text "
              "wikitext-2-raw-test.txt -o runs");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
