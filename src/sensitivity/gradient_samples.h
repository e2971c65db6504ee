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

// Name in a calibration file of the input that a linear layer multiplies.
std::string input_of(MatrixPlace place);

// Indices of at most `count` of n things, at even distances.
std::vector<std::int64_t> spread(std::int64_t n, std::int64_t count);

// Rows of a matrix that stand for all of it: a quarter, 64 at least.
std::vector<std::int64_t> sampled_rows(std::int64_t rows);

class GradientSamples final : public GradientObserver {
 public:
  // tokens_a_window: how many of each window's tokens are kept.
  explicit GradientSamples(std::int64_t tokens_a_window) : tokens_(tokens_a_window) {}

  struct Matrix {
    std::vector<std::int64_t> rows;   // sampled_rows
    std::vector<float> slopes;        // [samples, rows.size()]: dL/dy
    double squares = 0;               // sum of g^2 over all tokens and outputs
    std::vector<double> row_squares;  // by output
    std::int64_t tokens = 0;
    double mean_square() const {
      return squares / static_cast<double>(tokens) / static_cast<double>(row_squares.size());
    }
  };

  void observe(const MatrixGradient& gradient) override;

  const Matrix& matrix(MatrixPlace place) const { return matrices_.at(place); }
  // [samples, width]
  const std::vector<float>& inputs(const std::string& name) const { return inputs_.at(name); }
  // Forgets what only this place's input group needs.
  std::int64_t samples() const { return samples_; }

 private:
  std::int64_t tokens_, samples_ = 0;
  std::map<MatrixPlace, Matrix> matrices_;
  std::map<std::string, std::vector<float>> inputs_;
};

// The loss whose gradients say what an error costs: log p(y) summed over the tokens, with y drawn
// from the model's own distribution. The mean of g g^T over y is the Fisher information of the
// output (Amari 1998; Martens, arXiv 1412.1193, section 8), and KL(p || p moved by d) = d^T F d / 2
// to second order. The draws depend on seed, window and token alone.
class SampledLogProbability {
 public:
  SampledLogProbability(std::uint64_t seed, std::size_t window, std::int64_t vocab,
                        ThreadPool& pool)
      : seed_(seed), window_(window), vocab_(vocab), pool_(pool) {}
  double operator()(std::span<float> logits) const;

 private:
  std::uint64_t seed_;
  std::size_t window_;
  std::int64_t vocab_;
  ThreadPool& pool_;
};

}  // namespace qx
