// KL divergence measured directly: one matrix of the model replaced, everything else as it was.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "gradient/gradient_pass.h"
#include "sensitivity/code_costs.h"

namespace qx {

class DirectCost {
 public:
  // Runs the model over the windows and keeps the inputs of all layers and the logits: 4 x tokens x
  // (layers x hidden_size + vocab_size) bytes. Everything given must outlive it.
  DirectCost(ModelWeights& weights, std::span<const std::vector<TokenId>> windows,
             GradientPass& pass, ThreadPool& pool);

  // Mean over all tokens of KL(model || model with these codes at place), in nats. A tied matrix is
  // replaced as table and as head. The weights are as before when it returns or throws.
  double measure(MatrixPlace place, const CodedRows& coded);

 private:
  struct Window {
    std::vector<std::vector<float>> inputs;  // by layer; the last: of the final norm
    std::vector<float> logits;
  };
  double divergence(std::span<const float> base, std::span<float> variant);

  ModelWeights& weights_;
  std::span<const std::vector<TokenId>> windows_;
  GradientPass& pass_;
  ThreadPool& pool_;
  std::vector<Window> kept_;
};

}  // namespace qx
