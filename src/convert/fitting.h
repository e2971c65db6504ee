// The fitted codes of a conversion: which tensor goes with which measured input, and what is
// computed of an input once for all its tensors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "convert/convert.h"
#include "convert/source.h"
#include "fit/calibration_file.h"
#include "fit/fit_rows.h"

namespace qx {

class Fitting {
 public:
  // Fails: Error when the calibration is broken or of another model, or when a factor that is needed
  // is larger than the memory.
  Fitting(const FitRequest& request, const SourceModel& source, const Plan& plan,
          const std::filesystem::path& source_path);

  // As Calibration::require_weights, of the weight files among `files`.
  void require_weights(const std::map<std::string, std::string>& files) const;

  // Fails: Error unless the calibration file has this SHA-256.
  void require_calibration(const std::string& sha256) const;

  // All tensors of the plan but those left out (by tensor; may be empty), in batches of at most
  // `inputs` distinct inputs, which are held together; of fewer where memory is short.
  std::vector<std::vector<std::size_t>> batches(int inputs,
                                                const std::vector<char>& left_out) const;
  // Computes what the batch's tensors need, and forgets the rest. A tensor whose factor does not
  // exist falls back to mse with a note.
  void prepare(const std::vector<std::size_t>& batch, ThreadPool& pool);
  // Notes that a tensor of an earlier attempt had fallen back.
  void fell_back_before(std::size_t tensor) { note_fallback(tensor); }
  bool fell_back(std::size_t tensor) const;

  // What decides the codes beside source and plan.
  Json identity() const;

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
  // Tensors of one input share a factor, unless the order of its columns depends on the group.
  using Key = std::pair<std::string, int>;
  Key key_of(std::size_t tensor) const;
  std::int64_t width_of(std::size_t tensor) const;
  void note_fallback(std::size_t tensor);
  void require_memory() const;

  FitRequest request_;
  const Plan& plan_;
  std::filesystem::path source_path_;
  Calibration calibration_;
  std::vector<std::string> inputs_;  // by tensor; empty: not fitted
  std::map<Key, Input> ready_;
  std::int64_t memory_ = 0;  // for factors
  std::set<std::size_t> fallbacks_;
  std::vector<std::string> unfitted_, notes_;
};

}  // namespace qx
