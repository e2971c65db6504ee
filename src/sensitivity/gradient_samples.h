// What the costs of linear layers need of backward passes: for some tokens of every window, the
// inputs of each layer and the gradients of some of its outputs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "gradient/gradient_pass.h"

namespace qx {

// Indices of at most `count` of n things, at even distances.
std::vector<std::int64_t> spread(std::int64_t n, std::int64_t count);

// Rows of a matrix that stand for all of it: a quarter, 64 at least.
std::vector<std::int64_t> sampled_rows(std::int64_t rows);

class GradientSamples final : public GradientObserver {
 public:
  // tokens_a_window: how many of each window's tokens are kept: the first, which later ones attend
  // to far more than to others (Xiao et al., arXiv 2309.17453), as itself; the rest at even
  // distances.
  explicit GradientSamples(std::int64_t tokens_a_window) : tokens_(tokens_a_window) {}

  struct Matrix {
    std::vector<std::int64_t> rows;  // sampled_rows
    // [samples, rows.size()]: g = dL/dy times the root of how many tokens the sample stands for.
    std::vector<float> slopes;
    double squares = 0;       // sum of g^2 over all tokens and outputs
    double row_squares = 0;   // over all tokens, these outputs
    double kept_squares = 0;  // over the samples, these outputs: estimates row_squares
    std::int64_t tokens = 0, outputs = 0;
    double mean_square() const {
      return squares / static_cast<double>(tokens) / static_cast<double>(outputs);
    }
  };

  void observe(const MatrixGradient& gradient) override;

  const Matrix& matrix(MatrixPlace place) const { return matrices_.at(place); }
  // [samples, width]
  const std::vector<float>& inputs(const std::string& name) const { return inputs_.at(name); }

 private:
  std::int64_t tokens_;
  std::map<MatrixPlace, Matrix> matrices_;
  std::map<std::string, std::vector<float>> inputs_;
};

}  // namespace qx
