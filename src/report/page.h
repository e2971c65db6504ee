// What a report page shows, as plain structures: gathered by gather.h, written as JSON by page_json.h, laid into
// the page by html.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compare/comparison.h"
#include "compare/recommend.h"
#include "report/flips_to_read.h"
#include "report/frontier.h"
#include "report/weight_maps.h"

namespace qx {

// Speed of one run's model as qx bench measured it.
struct SpeedRow {
  std::string run;
  double prefill_tps = 0, decode_tps = 0;  // tokens a second
  std::int64_t prompt_tokens = 0, generated_tokens = 0, peak_rss_bytes = 0;
  std::string machine;  // "AVX-512, exact, 2 threads, Xeon .."
};

// Distance of one run's model to its base as qx divergence measured it; KL in nats a token.
struct DistanceRow {
  std::string run, base, text_sha256;
  std::int64_t tokens = 0;
  double kl_mean = 0, kl_stderr = 0, kl_median = 0, kl_p95 = 0, kl_p99 = 0, kl_max = 0;
  double top1_agreement = 0, ppl = 0, ppl_stderr = 0, ppl_base = 0;
};

// One key of run.json (dots join nested ones) and what each run says; "" where a run lacks the key.
struct Condition {
  std::string key;
  std::vector<std::string> values;  // in the order of Comparison::runs
};

struct ReportPage {
  std::string title, program;  // "qx 0.1.0 (commit ..)"
  Comparison comparison;
  double margin = 0;      // of equivalence; 0: not tested
  std::string paragraph;  // the words of compare/
  std::vector<Recommendation> recommendations;
  std::vector<FrontierPoint> by_size, by_speed;
  std::vector<SpeedRow> speed;
  std::vector<DistanceRow> distance;
  std::vector<WeightMap> weights;   // one per run
  std::vector<LayerErrors> errors;  // one per run other than the baseline; none with --no-errors
  FlipsToRead flips;
  std::vector<Condition> conditions;
  std::vector<std::string> notes;  // what the page lacks, and how to get it
};

}  // namespace qx
