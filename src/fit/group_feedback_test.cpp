// SPDX-License-Identifier: Apache-2.0
#include "fit/group_feedback.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"

namespace qx {
namespace {

constexpr int kN = 32;

struct Block {
  std::vector<float> upper, importance, row;
};

Block make_block(std::uint64_t seed) {
  Random random(seed);
  Block b;
  b.upper.assign(kN * kN, 0.0f);
  for (int i = 0; i < kN; ++i) {
    for (int j = i; j < kN; ++j) {
      b.upper[static_cast<std::size_t>(i * kN + j)] = static_cast<float>(
          i == j ? 0.6 + 0.4 * std::fabs(random.gaussian()) : 0.2 * random.gaussian());
    }
    const float d = b.upper[static_cast<std::size_t>(i * kN + i)];
    b.importance.push_back(1.0f / (d * d));
    b.row.push_back(static_cast<float>(random.gaussian()));
  }
  return b;
}

// |U^-T (w - s q - b)|^2 in double, from the definition.
double cost(const Block& b, const FedBackGroup& g) {
  std::vector<double> e;
  double sum = 0;
  for (int k = 0; k < kN; ++k) {
    double x = double(b.row[static_cast<std::size_t>(k)]) -
               (double(g.code.scale) * g.codes[k] + double(g.code.bias));
    for (int i = 0; i < k; ++i) {
      x -= e[static_cast<std::size_t>(i)] * double(b.upper[static_cast<std::size_t>(i * kN + k)]);
    }
    e.push_back(x / double(b.upper[static_cast<std::size_t>(k * kN + k)]));
    sum += e.back() * e.back();
  }
  return sum;
}

TEST(GroupFeedback, ErrorsAreThoseOfTheStoredCodes) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    const Block b = make_block(static_cast<std::uint64_t>(bits));
    const GroupFeedback group(b.upper.data(), kN, b.importance.data(), kN);
    FedBackGroup out;
    group.fit(b.row.data(), {bits, kN}, DType::kBF16, out);
    const double expected = cost(b, out);
    EXPECT_NEAR(double(out.code.error), expected, 2e-3 * expected) << bits;
    double sum = 0;
    for (int k = 0; k < kN; ++k) sum += double(out.errors[k]) * double(out.errors[k]);
    EXPECT_NEAR(sum, expected, 2e-3 * expected) << bits;
    EXPECT_EQ(out.code.scale, round_to(DType::kBF16, out.code.scale));
    EXPECT_EQ(out.code.bias, round_to(DType::kBF16, out.code.bias));
  }
}

// Against feedback with the pair that is best by the diagonal alone.
TEST(GroupFeedback, NeverWorseThanTheFirstCandidateAndMuchBetterOnAverage) {
  for (const int bits : {2, 3, 4}) {
    double first = 0, best = 0;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      const Block b = make_block(seed);
      const GroupFeedback group(b.upper.data(), kN, b.importance.data(), kN);
      FedBackGroup out, plain;
      group.fit(b.row.data(), {bits, kN}, DType::kBF16, out);
      // Codes by the first candidate, column by column.
      plain.code =
          fit_group(b.row.data(), b.importance.data(), {bits, kN}, DType::kBF16, plain.codes);
      std::vector<float> w = b.row;
      for (int k = 0; k < kN; ++k) {
        const float x = (w[static_cast<std::size_t>(k)] - plain.code.bias) / plain.code.scale;
        const float q =
            std::nearbyint(std::min(std::max(x, 0.0f), static_cast<float>((1 << bits) - 1)));
        plain.codes[k] = static_cast<std::uint8_t>(q);
        const float* u = b.upper.data() + k * kN;
        const float e =
            (w[static_cast<std::size_t>(k)] - (plain.code.scale * q + plain.code.bias)) / u[k];
        for (int c = k + 1; c < kN; ++c) w[static_cast<std::size_t>(c)] -= e * u[c];
      }
      const double a = cost(b, plain), c = cost(b, out);
      EXPECT_LE(c, a * 1.001) << bits << " " << seed;
      first += a;
      best += c;
    }
    EXPECT_LT(best, 0.85 * first) << bits;
  }
}

TEST(GroupFeedback, OddRows) {
  Block b = make_block(1);
  const GroupFeedback group(b.upper.data(), kN, b.importance.data(), kN);
  FedBackGroup out;
  std::fill(b.row.begin(), b.row.end(), 0.5f);  // a constant: exact
  group.fit(b.row.data(), {3, kN}, DType::kBF16, out);
  EXPECT_NEAR(cost(b, out), 0.0, 1e-9);
  b.row[3] = std::numeric_limits<float>::infinity();
  group.fit(b.row.data(), {3, kN}, DType::kBF16, out);
  EXPECT_TRUE(std::isnan(out.code.scale));
}

}  // namespace
}  // namespace qx
