// Calibration: a text through the float model, and what its linear layers read of it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "distance/text_tokens.h"
#include "fit/ngram_sketch.h"
#include "io/json.h"

namespace qx {

enum class TokenWeighting {
  kEqual,
  kGradient,  // calibrate/token_weights.h: a backward pass of every window before the sums
};
std::string_view token_weighting_name(TokenWeighting weighting);  // "equal", "gradient"
TokenWeighting parse_token_weighting(std::string_view name);      // fails: UsageError

struct CalibrateRequest {
  std::filesystem::path model, target;
  std::filesystem::path text;  // empty: the model's own samples
  std::uint64_t seed = 1;      // of these
  TextFormat format = TextFormat::kByName;
  bool chat = false;  // plain texts become conversations
  std::int64_t windows = 128, ctx = 512;
  TokenWeighting token_weights = TokenWeighting::kEqual;
  double skip = 0, share = 1;     // parts of the text's tokens: those passed over, those used
  std::int64_t memory_bytes = 0;  // for sums; 0: half of what is available
  // Sums are kept for a resume at the first end of a window so many seconds after the last time.
  double keep_seconds = 60;
  bool resume = false;  // go on from what a stopped calibration kept
  bool force = false, quiet = false;
};

struct CalibrateReport {
  Json info;  // as the file has it
  std::int64_t file_bytes = 0, tokens = 0, passes = 0, inputs = 0;
  std::int64_t resumed_windows = 0;  // over all passes, that an earlier attempt had measured
  std::string note;                  // what was done about resume
  NgramSketch ngrams;
};

// Inputs whose sums do not fit in memory together are measured in several passes over the text. The
// file is whole or absent; its bytes depend on model, text and options alone, not on threads or
// memory, nor on being stopped and resumed.
// Fails: Error (text too short, not UTF-8; sums of one input larger than the memory; activations
// that are not finite; target exists and not force; no room). Interrupted, or killed: what was kept
// last stays beside the target, as .NAME.qx-partial-N and .NAME.qx-state.
CalibrateReport calibrate(const CalibrateRequest& request, ThreadPool& pool);

}  // namespace qx
