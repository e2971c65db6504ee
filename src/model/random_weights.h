// Weights of a model that exists only as a config and a plan: for measuring speed and memory
// without files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "base/thread_pool.h"
#include "model/weights.h"
#include "recipe/plan.h"

namespace qx {

struct RandomWeights {
  std::uint64_t seed = 0;
  bool quiet = true;  // no progress on stderr
};

// Weights in one block of owned memory, ModelWeights::memory, of exactly plan.tensor_bytes bytes:
// every array of the plan in the order in which a converted directory holds it, one after the
// other. Codes are uniform; scales and biases make each value of a matrix with K columns uniform
// about zero with a variance near 1 / K, so that activations keep the size that real ones have.
// Norms are near one. The bytes depend on config, plan and seed alone, not on the number of
// threads.
// Fails: Error when the machine has less memory than that.
std::unique_ptr<ModelWeights> random_weights(const ModelConfig& config, const Plan& plan,
                                             const RandomWeights& options, ThreadPool& pool);

}  // namespace qx
