// Sums of x x^T over the rows that go into linear layers, for some of a model's inputs at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "calibrate/token_weights.h"
#include "fit/calibration_file.h"
#include "model/buffer.h"
#include "model/input_observer.h"

namespace qx {

// Name of an input in a calibration file.
std::string input_name(LinearInputPlace place);

// Of the rows of one call, at most kMomentRows at a time, products are summed in float32 by the
// kernels' dot product, whose order is fixed; these sums are added in double. So the result is the
// same for any number of threads and any instruction set. It does depend on how rows are cut into
// calls.
constexpr std::int64_t kMomentRows = 1024;

class SecondMoments final : public InputObserver {
 public:
  // Takes triangle_size(width) doubles for each of these inputs; others are passed over. Row n of an
  // input counts as often as `weights` say, which must outlive this; null: once.
  SecondMoments(std::span<const LinearInputShape> inputs, ThreadPool& pool,
                const TokenWeights* weights = nullptr);

  // Fails: Error naming the input, when a sum is NaN or infinite.
  void observe(LinearInputPlace place, const float* rows, std::int64_t count,
               std::int64_t width) override;

  // The triangles of all inputs in one order, to keep and to take up again; rows: seen by each.
  template <typename Body>
  void for_each_sum(const Body& body) const {
    for (const auto& [name, sum] : sums_) body(std::span<const double>(sum.triangle));
  }
  template <typename Body>
  void for_each_sum(const Body& body) {
    for (auto& [name, sum] : sums_) body(std::span<double>(sum.triangle));
  }
  void set_rows(std::int64_t rows) {
    for (auto& [name, sum] : sums_) sum.rows = rows;
  }

  std::int64_t count(const std::string& input) const { return sums_.at(input).rows; }
  // Lower triangle of the sum.
  std::span<const double> sum(const std::string& input) const { return sums_.at(input).triangle; }

 private:
  struct Sum {
    std::int64_t width = 0, rows = 0;
    std::vector<double> triangle;
  };
  struct Scratch {
    FloatBuffer decode, tile;
  };
  // roots: null, or the roots of how often each row counts
  void add(Sum& sum, const float* rows, std::int64_t count, const float* roots);

  ThreadPool& pool_;
  const TokenWeights* weights_;
  std::map<std::string, Sum> sums_;
  FloatBuffer columns_;           // [width, count]
  std::vector<Scratch> scratch_;  // per worker
};

}  // namespace qx
