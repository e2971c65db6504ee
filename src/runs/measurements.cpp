// SPDX-License-Identifier: Apache-2.0
#include "runs/measurements.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "runs/run_folder.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;

const Json& object_of(const Json& json, const char* key, std::string_view place) {
  const Json& value = json_member(json, key);
  if (!value.is_object()) {
    fail(place, "key '{}': got {}, expected an object", key, value.type_name());
  }
  return value;
}

double number_in(const Json& json, const char* key, double least, double most,
                 std::string_view place) {
  const double value = json_number(json, key, place);
  if (!(value >= least && value <= most)) {
    fail(place, "key '{}': got {}, expected {}", key, value,
         std::isfinite(most) ? fmt::format("{} to {}", least, most)
                             : fmt::format("a finite number of at least {}", least));
  }
  return value;
}

double finite_from(const Json& json, const char* key, double least, std::string_view place) {
  return number_in(json, key, least, std::numeric_limits<double>::max(), place);
}

std::int64_t count_from(const Json& json, const char* key, std::int64_t least,
                        std::string_view place) {
  const std::int64_t value = json_int(json, key, place);
  if (value < least) fail(place, "key '{}': got {}, expected at least {}", key, value, least);
  return value;
}

// A half of qx bench: {"tokens", "median_tps", ..}, where null says that it was not measured.
double speed_of(const Json& half, std::int64_t& tokens, std::string_view place) {
  if (json_member(half, "median_tps").is_null()) return 0;
  tokens = count_from(half, "tokens", 1, place);
  const double tps = finite_from(half, "median_tps", 0, place);
  if (tps == 0) fail(place, "key 'median_tps': got 0, expected more, or null for not measured");
  return tps;
}

// Windows of a text are independent, tokens of one are not; one window alone has no spread.
double error_of(const Json& json, const std::string& name, std::string_view place) {
  const std::string windows = name + "_windows";
  return finite_from(json, json_member(json, windows).is_null() ? name.c_str() : windows.c_str(), 0,
                     place);
}

const Json& measured_model(const Json& measured) {
  const Json& facts = json_member(measured, "model_facts");
  return facts.is_null() ? json_member(measured, "model") : facts;
}

// The document of a measurement that belongs to the run; nothing when there is none.
std::optional<Json> load_measurement(const fs::path& folder, const char* name, const char* again) {
  const fs::path file = folder / name;
  std::error_code error;
  if (!fs::exists(file, error)) {
    if (error) fail(file.string(), "cannot be read: {}", error.message());
    return {};
  }
  Json json = read_json_file(file, kMaxBytes);
  if (!json.is_object()) fail(file.string(), "got {}, expected an object", json.type_name());
  const Json run = read_json_file(folder / "run.json");
  const std::string difference = measured_model_difference(json, run);
  if (!difference.empty()) {
    fail(file.string(), "was not measured with the model of this run: {}. {}", difference, again);
  }
  return json;
}

}  // namespace

SpeedFacts parse_speed(const Json& json, std::string_view place) {
  if (!json.is_object()) fail(place, "got {}, expected an object", json.type_name());
  if (json_string_or(json, "weights", "files", place) != "files") {
    fail(place, "key 'weights': got \"random\", expected a measurement of a model's files");
  }
  SpeedFacts facts;
  const Json &prompt = object_of(json, "pp", place), &generation = object_of(json, "tg", place);
  const std::string pp = fmt::format("{}: pp", place), tg = fmt::format("{}: tg", place);
  facts.prefill_tps = speed_of(prompt, facts.prompt_tokens, pp);
  facts.decode_tps = speed_of(generation, facts.generated_tokens, tg);
  if (facts.decode_tps > 0) {
    facts.bytes_per_token = count_from(generation, "bytes_per_token", 1, tg);
    if (!json_member(generation, "share_of_read").is_null()) {
      // Caches can give more than memory does, so it may exceed 1.
      facts.read_share = finite_from(generation, "share_of_read", 0, tg);
    }
  }
  facts.peak_rss_bytes = count_from(json, "peak_rss_bytes", 0, place);
  facts.isa = json_string(json, "isa", place);
  facts.precision = json_string(json, "precision", place);
  if (const Json& machine = json_member(json, "machine"); !machine.is_null()) {
    facts.cpu = json_string_or(machine, "cpu", "", fmt::format("{}: machine", place));
  }
  const std::int64_t threads = count_from(json, "threads", 1, place);
  if (threads > 1'000'000) {
    fail(place, "key 'threads': got {}, expected at most 1000000", threads);
  }
  facts.threads = static_cast<int>(threads);
  return facts;
}

DistanceFacts parse_distance(const Json& json, std::string_view place) {
  if (!json.is_object()) fail(place, "got {}, expected an object", json.type_name());
  // The divergence of nearly equal distributions can come out below 0 by rounding.
  constexpr double kRounding = -1e-3;
  DistanceFacts facts;
  facts.tokens = count_from(json, "tokens", 2, place);
  facts.kl_mean = finite_from(json, "kl_mean", kRounding, place);
  facts.kl_stderr = error_of(json, "kl_stderr", place);
  facts.kl_median = finite_from(json, "kl_median", kRounding, place);
  facts.kl_p95 = finite_from(json, "kl_p95", kRounding, place);
  facts.kl_p99 = finite_from(json, "kl_p99", kRounding, place);
  facts.kl_max = finite_from(json, "kl_max", kRounding, place);
  facts.top1_agreement = number_in(json, "top1_agreement", 0, 1, place);
  facts.ppl = finite_from(json, "ppl", 0, place);
  facts.ppl_stderr = error_of(json, "ppl_stderr", place);
  facts.ppl_base = finite_from(json, "ppl_base", 0, place);
  facts.base = json_string(object_of(json, "base", place), "name", fmt::format("{}: base", place));
  facts.text_sha256 =
      json_string(object_of(json, "text", place), "sha256", fmt::format("{}: text", place));
  return facts;
}

std::string measured_model_difference(const Json& measured, const Json& run) {
  const Json &facts = measured_model(measured), &model = json_member(run, "model");
  if (!facts.is_object() || !json_member(facts, "plan_hash").is_string() ||
      !json_member(facts, "files").is_object()) {
    return "it does not say which model was measured (plan_hash and files)";
  }
  if (!model.is_object() || !json_member(model, "plan_hash").is_string() ||
      !json_member(model, "files").is_object()) {
    return "run.json does not say which model answered (an imported run?)";
  }
  return first_model_difference(facts, model, {"run.json", "the measurement"});
}

void require_run_of_model(const fs::path& run_folder, const Json& facts) {
  const fs::path file = run_folder / "run.json";
  const Json run = read_json_file(file);
  if (!run.is_object()) fail(file.string(), "got {}, expected an object", run.type_name());
  const std::string difference = measured_model_difference(Json{{"model", facts}}, run);
  if (!difference.empty()) {
    fail(run_folder.string(),
         "is a run of another model: {}. Give the run's own model, or another -o", difference);
  }
}

std::optional<SpeedFacts> load_speed(const fs::path& run_folder) {
  const std::optional<Json> json =
      load_measurement(run_folder, kSpeedFile,
                       "Measure again with qx bench -m DIR -o RUNS/NAME --force, or remove it");
  if (!json) return {};
  return parse_speed(*json, (run_folder / kSpeedFile).string());
}

std::optional<DistanceFacts> load_distance(const fs::path& run_folder) {
  const std::optional<Json> json =
      load_measurement(run_folder, kDistanceFile,
                       "Measure again with qx divergence .. -o RUNS --force, or remove it");
  if (!json) return {};
  return parse_distance(*json, (run_folder / kDistanceFile).string());
}

Json distance_facts_json(const DistanceFacts& d) {
  return Json{{"base", d.base},
              {"tokens", d.tokens},
              {"text_sha256", d.text_sha256},
              {"kl_mean", json_of_number(d.kl_mean)},
              {"kl_stderr", json_of_number(d.kl_stderr)},
              {"kl_median", json_of_number(d.kl_median)},
              {"kl_p95", json_of_number(d.kl_p95)},
              {"kl_p99", json_of_number(d.kl_p99)},
              {"kl_max", json_of_number(d.kl_max)},
              {"top1_agreement", json_of_number(d.top1_agreement)},
              {"ppl", json_of_number(d.ppl)},
              {"ppl_stderr", json_of_number(d.ppl_stderr)},
              {"ppl_base", json_of_number(d.ppl_base)}};
}

}  // namespace qx
