// SPDX-License-Identifier: Apache-2.0
#include "distill/trained_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "base/random.h"
#include "quant/affine.h"

namespace qx {
namespace {

// A matrix quantized by MLX's rule, with its memory.
struct StoredMatrix {
  StoredMatrix(std::int64_t rows, std::int64_t cols, AffineSpec spec, DType dtype,
               std::uint64_t seed = 5)
      : spec_(spec), dtype_(dtype) {
    Random random(seed);
    std::vector<float> values(static_cast<std::size_t>(rows * cols));
    for (float& v : values) v = static_cast<float>(random.gaussian());
    const auto groups = static_cast<std::size_t>(rows * groups_per_row(cols, spec.group));
    codes.resize(static_cast<std::size_t>(rows * code_bytes_per_row(cols, spec.bits)));
    scales.resize(groups * dtype_bytes(dtype));
    biases.resize(groups * dtype_bytes(dtype));
    std::vector<std::byte> typed(values.size() * dtype_bytes(dtype));
    store_floats(dtype, values, typed.data());
    EXPECT_FALSE(encode_rows(dtype, typed.data(), {rows, cols}, spec, Rounding::kCpu,
                             {codes.data(), scales.data(), biases.data()}));
    view = {WeightKind::kAffine,
            dtype == DType::kBF16  ? ScaleKind::kBF16
            : dtype == DType::kF16 ? ScaleKind::kF16
                                   : ScaleKind::kF32,
            spec.bits,
            spec.group,
            rows,
            cols,
            codes.data(),
            scales.data(),
            biases.data()};
  }

  std::vector<float> decoded(const WeightRows& w) const {
    std::vector<float> out(static_cast<std::size_t>(w.rows * w.cols));
    decode_rows({{w.rows, w.cols}, spec_, dtype_, w.values, w.scales, w.biases}, {0, w.rows}, out);
    return out;
  }
  std::vector<float> loaded(const std::vector<std::byte>& bytes) const {
    std::vector<float> out(bytes.size() / dtype_bytes(dtype_));
    load_floats(dtype_, bytes.data(), 0, out);
    return out;
  }

  AffineSpec spec_;
  DType dtype_;
  std::vector<std::byte> codes, scales, biases;
  WeightRows view;
};

TEST(TrainedMatrix, WithoutAGradientNothingMoves) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const StoredMatrix stored(7, 128, {4, 32}, dtype);
    TrainedMatrix matrix(stored.view);
    EXPECT_EQ(matrix.groups(), 28);
    for (int t = 1; t < 4; ++t) matrix.step({0.1, t});
    EXPECT_EQ(matrix.scales(), stored.scales);
    EXPECT_EQ(matrix.biases(), stored.biases);
    EXPECT_EQ(matrix.rows().values, stored.view.values);
  }
}

// The definition: Adam on (scale, centre) of each group, in double, with gradients by the chain rule
// from dL/dW of every weight.
TEST(TrainedMatrix, IsAdamOnScaleAndCentre) {
  for (const AffineSpec spec : {AffineSpec{3, 32}, AffineSpec{8, 64}, AffineSpec{2, 128}}) {
    const StoredMatrix stored(5, 256, spec, DType::kF32);
    TrainedMatrix matrix(stored.view);
    const double top = (1 << spec.bits) - 1, spread = top / std::sqrt(12.0);
    const std::vector<float> weights = stored.decoded(stored.view);
    const std::vector<float> s0 = stored.loaded(stored.scales), b0 = stored.loaded(stored.biases);
    struct State {
      double scale, centre, m[2] = {0, 0}, v[2] = {0, 0};
    };
    std::vector<State> states;
    for (std::size_t g = 0; g < s0.size(); ++g) {
      states.push_back({double(s0[g]), double(b0[g]) + double(s0[g]) * top / 2});
    }
    Random random(8);
    for (int t = 1; t <= 3; ++t) {
      std::vector<float> slopes(weights.size());
      for (float& slope : slopes) slope = static_cast<float>(random.gaussian() + 0.3);
      // In two calls for some rows: gradients of windows add up.
      matrix.add_gradient(0, 5, slopes.data());
      matrix.add_gradient(3, 2, slopes.data() + 3 * 256);
      const AdamStep adam{0.05 / t, t};
      matrix.step(adam);
      for (std::size_t g = 0; g < states.size(); ++g) {
        double by_scale = 0, by_centre = 0;
        const std::size_t group = static_cast<std::size_t>(spec.group);
        for (std::size_t k = g * group; k < (g + 1) * group; ++k) {
          const double twice = k >= 3 * 256 ? 2 : 1;
          const double code = std::round((double(weights[k]) - double(b0[g])) / double(s0[g]));
          by_scale += twice * double(slopes[k]) * (code - top / 2);
          by_centre += twice * double(slopes[k]);
        }
        State& s = states[g];
        const double slope[2] = {by_scale, by_centre};
        double move[2];
        for (int i = 0; i < 2; ++i) {
          s.m[i] = 0.9 * s.m[i] + 0.1 * slope[i];
          s.v[i] = 0.99 * s.v[i] + 0.01 * slope[i] * slope[i];
          move[i] = adam.rate * std::abs(double(s0[g])) * (s.m[i] / (1 - std::pow(0.9, t))) /
                    std::sqrt(s.v[i] / (1 - std::pow(0.99, t)));
        }
        s.scale -= move[0] / spread;
        s.centre -= move[1];
      }
    }
    const std::vector<float> scales = stored.loaded(matrix.scales());
    const std::vector<float> biases = stored.loaded(matrix.biases());
    for (std::size_t g = 0; g < states.size(); ++g) {
      ASSERT_NEAR(double(scales[g]), states[g].scale, 2e-6 * std::abs(states[g].scale)) << g;
      ASSERT_NEAR(double(biases[g]), states[g].centre - states[g].scale * top / 2,
                  1e-5 * std::abs(double(s0[g])) * top)
          << g;
    }
  }
}

TEST(TrainedMatrix, AScaleStaysWithinHalfAndTwice) {
  const StoredMatrix stored(2, 64, {2, 32}, DType::kF32);
  for (const float sign : {1.0f, -1.0f}) {
    TrainedMatrix matrix(stored.view);
    // Pulls all weights together, or apart.
    std::vector<float> slopes = stored.decoded(stored.view);
    for (float& slope : slopes) slope *= sign;
    for (int t = 1; t <= 30; ++t) {
      matrix.add_gradient(0, 2, slopes.data());
      matrix.step({1.0, t});
    }
    const std::vector<float> first = stored.loaded(stored.scales);
    const std::vector<float> last = stored.loaded(matrix.scales());
    for (std::size_t g = 0; g < first.size(); ++g) {
      const float ratio = last[g] / first[g];
      EXPECT_GE(ratio, 0.5f);
      EXPECT_LE(ratio, 2.0f);
      // Which way a group goes depends on its codes; an end is reached either way.
      EXPECT_TRUE(ratio == 0.5f || ratio == 2.0f) << ratio;
    }
  }
}

TEST(TrainedMatrix, AGroupOfEqualWeightsIsLeftAlone) {
  StoredMatrix stored(1, 64, {4, 32}, DType::kBF16);
  std::memset(stored.scales.data(), 0, dtype_bytes(DType::kBF16));
  TrainedMatrix matrix(stored.view);
  const std::vector<float> slopes(64, 1.0f);
  matrix.add_gradient(0, 1, slopes.data());
  matrix.step({0.5, 1});
  EXPECT_TRUE(
      std::equal(stored.scales.begin(), stored.scales.begin() + 2, matrix.scales().begin()));
  EXPECT_TRUE(
      std::equal(stored.biases.begin(), stored.biases.begin() + 2, matrix.biases().begin()));
  EXPECT_FALSE(
      std::equal(stored.biases.begin() + 2, stored.biases.end(), matrix.biases().begin() + 2));
}

// The loss |W - target|^2 / 2 has the least squares line through the codes as its minimum.
TEST(TrainedMatrix, FindsTheLeastSquaresOfItsCodes) {
  const StoredMatrix stored(3, 64, {4, 32}, DType::kF32);
  const std::vector<float> start = stored.decoded(stored.view);
  Random random(11);
  std::vector<float> target = start;
  for (float& v : target) v += static_cast<float>(0.1 * random.gaussian());
  TrainedMatrix matrix(stored.view);
  constexpr int kSteps = 400;
  for (int t = 1; t <= kSteps; ++t) {
    std::vector<float> slopes = stored.decoded(matrix.rows());
    for (std::size_t i = 0; i < slopes.size(); ++i) slopes[i] -= target[i];
    matrix.add_gradient(0, 3, slopes.data());
    matrix.step({0.02 * (1 - double(t - 1) / kSteps), t});
  }
  const std::vector<float> scales = stored.loaded(matrix.scales());
  const std::vector<float> s0 = stored.loaded(stored.scales), b0 = stored.loaded(stored.biases);
  for (std::size_t g = 0; g < scales.size(); ++g) {
    double q1 = 0, q2 = 0, w1 = 0, wq = 0;
    for (std::size_t k = g * 32; k < (g + 1) * 32; ++k) {
      const double q = std::round((double(start[k]) - double(b0[g])) / double(s0[g]));
      q1 += q, q2 += q * q, w1 += double(target[k]), wq += q * double(target[k]);
    }
    const double best = (32 * wq - q1 * w1) / (32 * q2 - q1 * q1);
    EXPECT_NEAR(double(scales[g]), best, 1e-3 * std::abs(best)) << g;
  }
}

}  // namespace
}  // namespace qx
