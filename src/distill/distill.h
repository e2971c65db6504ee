// Distillation of scales and biases: those of a quantized model are adjusted, its codes kept, so that
// its next-token distributions come closer to those of the model that it was made from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "distance/text_tokens.h"
#include "io/json.h"

namespace qx {

struct DistillRequest {
  std::filesystem::path base;       // the teacher; any directory that loads
  std::filesystem::path quantized;  // with affine matrices: where it starts
  std::filesystem::path text, target;
  std::filesystem::path calibration;  // in place of a text: its windows (fit/calibration_file.h)
  TextFormat format = TextFormat::kByName;
  bool chat = false;            // plain texts become conversations
  double skip = 0, share = 1;   // parts of the text's tokens: those passed over, those used
  std::int64_t ctx = 512;       // of a text's windows; a calibration has its own
  std::int64_t steps = 40;      // one window each
  std::int64_t validation = 8;  // at most a sixth of a calibration's windows
  double rate = 0.0012;  // at its height; a part of the distance between codes (trained_matrix.h)
  std::uint64_t seed = 1;
  // Where KL did not fall: write the first values again in place of an error.
  bool keep_start = false;
  bool force = false, quiet = false;
};

struct DistillReport {
  // KL(base || quantized) over the validation windows, nats a token: before, and of what was kept.
  double start_kl = 0, kl = 0;
  std::int64_t windows = 0;     // that were trained on, at least once
  std::int64_t kept_step = 0;   // whose values were kept; 0: the first
  std::int64_t validation = 0;  // windows that decided
  std::int64_t groups = 0;      // trained
  Json record;                  // as in the directory's qx_plan.json, under "fit"
};

// Which windows train and which validate: `validation` of the `count` windows at even distances, the
// others in seeded random order, again and again until there are `steps`.
struct DistillWindows {
  std::vector<std::int64_t> training, validation;
};
DistillWindows deal_windows(std::int64_t count, std::int64_t validation, std::int64_t steps,
                            std::uint64_t seed);

// Part of the full rate in step 1, 2, .. steps: up evenly over the first tenth (Adam's first steps know
// little but signs, and move everything by the whole rate), and down to zero by half a cosine.
double rate_share(std::int64_t step, std::int64_t steps);

// Mean over rows of KL(p || q) in nats, p and q the softmax of base's and logits' rows of `vocab`
// values. Replaces logits by its gradient, (q - p) / rows.
double kl_and_gradient(ThreadPool& pool, std::span<const float> base, std::span<float> logits,
                       std::int64_t vocab);

// Every step: a window of the text through both models (float32 activations), KL(base || quantized)
// averaged over its tokens, and one step of Adam on all scales and biases, at rate_share of `rate`. KL of
// the validation windows, which train nothing, is measured before, every 50 steps and at the end; the
// values with the least are kept.
// The directory is the quantized one with other scales and biases: same names, types and bytes; whole or
// absent. It depends on the two models, the text and the options, not on threads or instruction set.
// Memory beyond both models: 36 bytes a group, two times the logits of a window (8 bytes x ctx x
// vocab_size), and what gradient/gradient_pass.h says.
// Fails: Error: no affine matrix; another shape than the base's; a text too short; a calibration that is
// broken or of another base; a KL that did not fall, without keep_start (then nothing is written); as
// require_replaceable. Interrupted: nothing is left.
DistillReport distill(const DistillRequest& request, ThreadPool& pool);

// What distill() says of a calibration before its first step, without a look at weights. Fails: Error: it is
// broken, of another shape than the base's, or without windows; they are too few, or longer than the base's
// positions.
void check_calibration_windows(const DistillRequest& request);

}  // namespace qx
