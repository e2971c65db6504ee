// SPDX-License-Identifier: Apache-2.0
#include "gradient/sampled_loss.h"

#include <cmath>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "kernels/api.h"

namespace qx {
namespace {

// Seeds of neighbouring windows and tokens must not give shifted copies of one sequence.
std::uint64_t mix(std::uint64_t seed, std::uint64_t value) {
  return Random(seed ^ (value + 1) * 0x9E3779B97F4A7C15ull).next();
}

}  // namespace

double SampledLogProbability::operator()(std::span<float> logits) const {
  const std::int64_t rows = static_cast<std::int64_t>(logits.size()) / vocab_;
  std::vector<double> losses(static_cast<std::size_t>(rows));
  const std::uint64_t window_seed = mix(seed_, window_);
  pool_.parallel_for(static_cast<std::size_t>(rows), 1,
                     [&](std::size_t begin, std::size_t end, int) {
                       for (std::size_t m = begin; m < end; ++m) {
                         float* row = logits.data() + static_cast<std::int64_t>(m) * vocab_;
                         kernels().softmax_unnormalized(row, vocab_);
                         double sum = 0;
                         for (std::int64_t v = 0; v < vocab_; ++v)
                           sum += static_cast<double>(row[v]);
                         const double point = Random(mix(window_seed, m)).uniform() * sum;
                         std::int64_t drawn = 0;
                         double passed = static_cast<double>(row[0]);
                         while (passed <= point && drawn + 1 < vocab_)
                           passed += static_cast<double>(row[++drawn]);
                         losses[m] = std::log(static_cast<double>(row[drawn]) / sum);
                         const auto scale = static_cast<float>(-1.0 / sum);
                         for (std::int64_t v = 0; v < vocab_; ++v) row[v] *= scale;
                         row[drawn] += 1.0f;
                       }
                     });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace qx
