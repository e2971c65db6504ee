// The fitted codes of a conversion: which tensor goes with which measured input, and what is
// computed of an input once for all its tensors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "convert/convert.h"
#include "convert/source.h"
#include "fit/calibration_file.h"
#include "fit/fit_rows.h"

namespace qx {

class Fitting {
 public:
  // Fails: Error when the calibration is broken or of another model.
  Fitting(const FitRequest& request, const SourceModel& source, const Plan& plan,
          const std::filesystem::path& source_path);

  // As Calibration::require_weights, of the weight files among `files`.
  void require_weights(const std::map<std::string, std::string>& files) const;

  // All tensors of the plan, in batches of at most `inputs` distinct inputs, which are held
  // together.
  std::vector<std::vector<std::size_t>> batches(int inputs) const;
  // Computes what the batch's tensors need, and forgets the rest. A tensor whose factor does not
  // exist falls back to mse with a note.
  void prepare(const std::vector<std::size_t>& batch, ThreadPool& pool);

  // Whether the tensor is fitted; otherwise it is minmax's, or a float.
  bool has(std::size_t tensor) const { return !inputs_[tensor].empty(); }
  // Rows of a tensor of the prepared batch; they are used as scratch. Threads: any.
  void encode(std::size_t tensor, std::span<float> rows, MatrixShape shape, AffineOut out) const;

  const std::vector<std::string>& notes() const { return notes_; }
  Json provenance() const;

 private:
  struct Input {
    std::vector<float> importance;
    std::optional<InverseFactor> factor;
  };

  FitRequest request_;
  const Plan& plan_;
  std::filesystem::path source_path_;
  Calibration calibration_;
  std::vector<std::string> inputs_;  // by tensor; empty: not fitted
  std::map<std::string, Input> ready_;
  std::vector<std::string> fallbacks_, unfitted_, notes_;
};

}  // namespace qx
