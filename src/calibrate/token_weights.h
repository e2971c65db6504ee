// How much each token counts in the second moments of a calibration.
//
// H, the mean of x x^T over the rows x that a matrix multiplies, counts all rows alike: as if an error of
// the output cost the same at every token. To second order an error D of the weights costs the mean of
// (g . D x)^2 / 2 of KL, g being the gradient of the log-probability of a token that is drawn from the
// model (gradient/sampled_loss.h) at the output. Without the directions of g, which no fit row by row can
// use, that is |g|^2 (D x)^2: rows weighted by |g|^2, summed over the matrices that read x (a Fisher
// weighted moment; GPTQ's own, arXiv 2210.17323, is H). One draw of a token says little of |g|^2, and few
// tokens have most of it, so both are used: row t counts
//   u_t = (1 + c |g_t|^2) / 2, with c such that both parts have the same trace.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "fit/calibration_file.h"
#include "gradient/gradient_pass.h"

namespace qx {

// Gets every window's backward pass, then has the weights. Threads: one caller at a time.
class TokenWeights final : public GradientObserver {
 public:
  // rows: of all windows together. Takes 12 bytes a row and input.
  TokenWeights(std::span<const LinearInputShape> inputs, std::int64_t rows, ThreadPool& pool);

  // The rows of the next pass are `first` and those after it.
  void begin(std::int64_t first) { first_ = first; }
  void observe(const MatrixGradient& gradient) override;
  // All rows have come. Fails: Error naming the input, for gradients that are not finite.
  void finish();

  // After finish(), of every row the root of u_t: x u_t^(1/2) has the weighted moment.
  std::span<const float> roots(const std::string& input) const { return rows_.at(input).roots; }

  // What was measured, input by input, to keep and to take up again.
  std::vector<float> values() const;
  void set_values(std::span<const float> values);
  std::size_t value_count() const;

 private:
  struct Rows {
    std::vector<float> slopes;  // |g|^2 of each row
    std::vector<float> norms;   // |x|^2
    std::vector<float> roots;
  };
  ThreadPool& pool_;
  std::map<std::string, Rows> rows_;
  std::int64_t first_ = 0;
};

}  // namespace qx
