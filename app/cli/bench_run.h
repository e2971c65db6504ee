// The measurements of qx bench: prompt and generation speed of a model, interleaved with what the
// machine can do at most.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "io/json.h"
#include "model/model.h"
#include "model/weights.h"

namespace qx::cli {

struct BenchSettings {
  std::int64_t prompt = 512;    // tokens of the prompt; 0: not measured
  std::int64_t generate = 128;  // tokens generated; 0: not measured
  std::int64_t depth = 16;      // tokens in the context before generation begins
  std::int64_t repeats = 5;
  bool machine = true;  // whether the machine's peaks are measured
  bool quiet = false;
};

// Seconds of each repetition.
struct BenchTimes {
  std::vector<double> prompt, generate;
  double first_prompt = 0;  // the first pass of all, which also brings the weights into memory
  std::int64_t peak_rss_bytes = 0;  // before the machine is measured, which takes memory of its own
};

// What the machine could do in each round, next to the model's own turn: on a machine that is shared
// with others both vary, and only what was measured together may be divided. Empty: not measured.
struct MachinePeaks {
  std::string isa;
  std::vector<double> read_gbs;  // mean of just before and just after the generation
  std::vector<double> int8_gmacs, int16_gmacs, f32_gmacs;  // just after the prompt
};

// Tokens are random numbers of a fixed seed; speed does not depend on them. A prompt is one forward
// pass with the logits of its last token. Generation is one token at a time with its logits, after
// `depth` tokens whose time does not count.
void run_bench(Model& model, ThreadPool& pool, const BenchSettings& settings, BenchTimes& times,
               MachinePeaks& peaks);

// {"tokens","median_tps","min_tps","max_tps",..} of the two halves, as spec'd for qx bench --json.
Json prompt_json(const BenchTimes& times, const BenchSettings& settings, const TokenCost& cost,
                 const MachinePeaks& peaks);
Json generation_json(const BenchTimes& times, const BenchSettings& settings, const TokenCost& cost,
                     const MachinePeaks& peaks);
Json machine_json(const MachinePeaks& peaks, int threads);

}  // namespace qx::cli
