// Sensitivity of a model: what each code of each tensor costs. Backward passes over a few windows of
// the calibration's text give the costs of linear layers; the embedding and the head are coded and
// measured; a random sample of all is measured to say how good the costs are. docs/sensitivity.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/thread_pool.h"
#include "fit/fit_rows.h"
#include "sensitivity/sensitivity_file.h"

namespace qx {

struct SensitivityRequest {
  std::filesystem::path model, calibration;
  FitMethod fit = FitMethod::kGptq;
  double damping = 0.01;
  std::optional<DType> dtype;  // of scales and biases; nothing: as qx convert would choose
  std::int64_t windows = 8;    // of the backward passes
  std::int64_t direct_windows = 2;
  std::int64_t validate = 60;  // pairs of tensor and code measured directly
  std::uint64_t seed = 0;
  std::vector<int> bits = {2, 3, 4, 5, 6, 8}, groups = {32, 64, 128};
  bool quiet = false;
};

struct SensitivityReport {
  Sensitivity result;
  std::vector<std::string> notes;  // tensors that fell back to mse, or have no code
  double gradient_seconds = 0, cost_seconds = 0, measured_seconds = 0, validation_seconds = 0;
};

// The numbers depend on model, calibration and options alone, not on threads.
// Fails: Error (calibration of another model or without tokens; weights, activations or gradients
// that are not finite; no matrix whose columns a group divides; a model that is quantized already;
// too little memory).
SensitivityReport measure_sensitivity(const SensitivityRequest& request, ThreadPool& pool);

// The tensors and codes that it would judge, at no cost each: what there is to choose from. Reads headers.
// Fails: Error, as plan_conversion; no matrix whose columns a group divides.
Sensitivity codes_without_costs(const SensitivityRequest& request);

// Pearson's correlation of the logarithms, over pairs of which both are above zero; nothing for
// fewer than three of them or no variance.
std::optional<double> log_pearson(const std::vector<SensitivityPair>& pairs);
// Median of direct / model; nothing without pairs.
std::optional<double> median_ratio(const std::vector<SensitivityPair>& pairs);

}  // namespace qx
