// The loss whose gradients tell what an error of the outputs costs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/thread_pool.h"

namespace qx {

// Log p(y) summed over the tokens, with y drawn
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
