// SPDX-License-Identifier: Apache-2.0
#include "gradient/sampled_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace qx {
namespace {

TEST(SampledLogProbability, IsOneHotLessProbabilityAndDrawsFromTheModel) {
  ThreadPool one(1), three(3);
  constexpr std::int64_t kVocab = 4, kTokens = 4000;
  const float logits[kVocab] = {0.0f, 1.0f, -1.0f, 2.0f};
  double z = 0;
  for (const float l : logits) z += std::exp(double(l));
  std::vector<float> rows;
  for (std::int64_t m = 0; m < kTokens; ++m) rows.insert(rows.end(), logits, logits + kVocab);
  std::vector<float> again = rows, other = rows;
  const double loss = SampledLogProbability(7, 2, kVocab, one)(rows);
  EXPECT_EQ(loss, SampledLogProbability(7, 2, kVocab, three)(again));
  EXPECT_EQ(rows, again);
  EXPECT_NE(loss, SampledLogProbability(7, 3, kVocab, one)(other));
  std::vector<double> drawn(kVocab, 0.0);
  double sum = 0;
  for (std::int64_t m = 0; m < kTokens; ++m) {
    const float* row = rows.data() + m * kVocab;
    for (std::int64_t v = 0; v < kVocab; ++v) {
      const double p = std::exp(double(logits[v])) / z;
      const bool hot = row[v] > 0;
      EXPECT_NEAR(row[v], (hot ? 1.0 : 0.0) - p, 1e-6);
      if (hot) {
        ++drawn[static_cast<std::size_t>(v)];
        sum += std::log(p);
      }
    }
  }
  EXPECT_NEAR(loss, sum, 1e-3);
  for (std::int64_t v = 0; v < kVocab; ++v) {
    const double p = std::exp(double(logits[v])) / z;
    // Five standard errors.
    EXPECT_NEAR(drawn[static_cast<std::size_t>(v)] / kTokens, p,
                5 * std::sqrt(p * (1 - p) / kTokens));
  }
}

}  // namespace
}  // namespace qx
