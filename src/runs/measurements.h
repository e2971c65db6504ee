// What was measured of a run's model beside its answers: RUNS/NAME/bench.json (qx bench -o
// RUNS/NAME) and RUNS/NAME/divergence.json (qx divergence -o RUNS). Both name the model that was
// measured, and are read only when it is the run's own: the stored tensors (plan_hash) and every
// file by its SHA-256.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "io/json.h"

namespace qx {

inline constexpr const char* kSpeedFile = "bench.json";
inline constexpr const char* kDistanceFile = "divergence.json";

struct SpeedFacts {
  // Medians in tokens per second; 0: not measured (qx bench -p 0, or -n 0), and then the tokens are
  // 0 too.
  double prefill_tps = 0, decode_tps = 0;
  std::int64_t prompt_tokens = 0, generated_tokens = 0;
  std::int64_t peak_rss_bytes = 0;   // of the process while it measured
  std::int64_t bytes_per_token = 0;  // read from memory for one generated token; 0: not measured
  std::optional<double> read_share;  // of the machine's read bandwidth while generating
  std::string isa, precision, cpu;   // precision may differ from the run's; cpu "": not known
  int threads = 0;
};

struct DistanceFacts {
  double kl_mean = 0;    // KL(base || model), nats a token
  double kl_stderr = 0;  // over windows where there are two or more, else over tokens
  double kl_median = 0, kl_p95 = 0, kl_p99 = 0, kl_max = 0;
  double top1_agreement = 0;                     // share of tokens, in [0, 1]
  double ppl = 0, ppl_stderr = 0, ppl_base = 0;  // of the same text; ppl_stderr as kl_stderr
  std::int64_t tokens = 0;                       // that were measured
  std::string base;                              // the base's name as given to qx divergence
  std::string text_sha256;                       // of the text file
};

// Nothing when the file is not there. All numbers are finite.
// Fails: Error when it is broken, was measured with another model than run.json names, does not say
// with which (an older qx, or random weights), or run.json does not name one (an import).
std::optional<SpeedFacts> load_speed(const std::filesystem::path& run_folder);
std::optional<DistanceFacts> load_distance(const std::filesystem::path& run_folder);

// The same of a document. place: of its file, for messages. Fails: Error.
SpeedFacts parse_speed(const Json& json, std::string_view place);
DistanceFacts parse_distance(const Json& json, std::string_view place);

// What comparisons and reports say of them, one key a member (`base` and `text_sha256` as they stand
// here, not as parse_distance() reads them).
Json distance_facts_json(const DistanceFacts& facts);

// The first difference in words between the model of a document that holds "model_facts" or "model"
// (as model_facts_json() writes) and that of a run.json; "" when there is none. Never throws for
// odd JSON: what is missing is a difference.
std::string measured_model_difference(const Json& measured, const Json& run);

// Fails: Error unless the folder is a run of the model `facts` (model_facts_json()). For a verb
// that is about to measure, so that no time is spent in vain.
void require_run_of_model(const std::filesystem::path& run_folder, const Json& facts);

}  // namespace qx
