// The windows of tokens that a calibration reads: of a text, or of the model's own making.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/thread_pool.h"
#include "calibrate/calibrate.h"
#include "fit/ngram_sketch.h"
#include "io/json.h"
#include "text/tokenizer.h"

namespace qx {

struct CalibrationText {
  std::vector<std::vector<TokenId>> windows;
  std::int64_t tokens = 0;            // of all windows
  std::vector<std::uint32_t> counts;  // by token
  NgramSketch ngrams;                 // of what the windows spell
  Json json;                          // what the file says of it
};

// vocab: the model's vocab_size. Fails: Error (text too short, not UTF-8, ids beyond vocab).
CalibrationText read_calibration_text(const CalibrateRequest& request, std::int64_t vocab);

// The model's own text, made with 16-bit activations (`exact`). kept: windows of an earlier attempt,
// or empty.
CalibrationText sample_calibration_text(const CalibrateRequest& request, std::int64_t vocab,
                                        std::vector<std::vector<TokenId>> kept, ThreadPool& pool);

}  // namespace qx
