// From a Hugging Face or MLX model directory to an MLX model directory, in row blocks: memory beyond the
// mapped source stays small whatever the model, every core works, and the output is whole or absent.
// What is written, file by file: docs/format.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "arch/model_config.h"
#include "base/thread_pool.h"
#include "convert/layout.h"
#include "fit/fit_rows.h"
#include "quant/affine.h"
#include "recipe/plan.h"

namespace qx {

// How codes are found. mse and gptq need what qx calibrate measured on exactly this source.
struct FitRequest {
  FitMethod method = FitMethod::kMinMax;
  std::filesystem::path calibration;  // empty with minmax
  double damping = 0.01;              // gptq: share of the mean of H's diagonal that is added to it
  ColumnOrder order = ColumnOrder::kNatural;  // gptq
  // gptq: for factors of second moments; 0: half of what is available. Fewer are made at once where
  // they do not all fit; the bytes of the output do not depend on it.
  std::int64_t memory_bytes = 0;
};

struct ConvertRequest {
  std::filesystem::path source, target;
  std::string source_name;  // for the record; empty: the last part of the source's path
  PlanRequest plan;
  Rounding rounding = Rounding::kCpu;  // of minmax
  FitRequest fit;
  bool force = false;             // replace an existing target
  bool resume = false;            // go on where a killed conversion stopped
  bool allow_requantize = false;  // quantize weights that were quantized before
  bool quiet = false;             // no progress bar
  std::int64_t max_shard_bytes = kMaxShardBytes;
};

// What a conversion would write. Reads headers only and writes nothing.
struct ConvertPlan {
  Plan plan;
  ModelConfig config;
  DType dtype = DType::kBF16;  // of floats, scales and biases
  bool source_is_quantized = false;
  std::vector<std::string> warnings;  // of the source and of the plan
};

// Fails: as convert() does before it writes.
ConvertPlan plan_conversion(const ConvertRequest& request);

struct ConvertResult {
  ConvertPlan plan;
  std::vector<std::string> files;    // names in the directory, sorted
  std::int64_t tensors = 0;          // of the plan
  std::int64_t resumed_tensors = 0;  // of these, taken over from a killed conversion
  std::vector<std::string> notes;    // what was done about --resume; tensors that fell back to mse
  std::int64_t source_bytes = 0;     // of the tensors, as stored in the source
  // Time from the call until every byte was written (reading, hashing, encoding, writing into the
  // page cache), and from there until all of it was on the disk under its name.
  double make_seconds = 0, sync_seconds = 0;
};

// The weights are first rounded to the output's float type (request, else the config's, else the type
// that most are stored in), then quantized; affine sources are decoded in float32 and rounded once.
// The bytes depend on source, plan, type, rounding and fit alone, not on threads or on an interruption.
// A tensor whose damped second moment is not positive definite falls back from gptq to mse; an untied
// embedding, whose input is one token, keeps minmax. Both are in qx_plan.json.
//
// Fails: Error (target exists and not force; source broken, incomplete or with unknown tensors; NaN or
// infinite weights with tensor, row and column; no room on the disk; quantized source without
// allow_requantize; a calibration that is broken or of other weights; a factor larger than the memory).
// With resume, what an earlier attempt had finished is kept all the same.
// Interrupted: the unfinished output is kept for a resume; the target is absent. Its hint says so where a
// tensor was finished.
ConvertResult convert(const ConvertRequest& request, ThreadPool& pool);

}  // namespace qx
