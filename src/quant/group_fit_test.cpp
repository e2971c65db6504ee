// SPDX-License-Identifier: Apache-2.0
#include "quant/group_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"

namespace qx {
namespace {

// The sum as it is defined, in double.
double plain_error(const std::vector<float>& w, const std::vector<float>& h,
                   const std::vector<std::uint8_t>& codes, float scale, float bias) {
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double value = std::fma(double{scale}, double(codes[i]), double{bias});
    sum += double{h[i]} * (double{w[i]} - value) * (double{w[i]} - value);
  }
  return sum;
}

struct Case {
  std::vector<float> w, h;
};

Case make_case(int group, std::uint64_t seed, DType dtype) {
  Random random(seed);
  Case c;
  for (int i = 0; i < group; ++i) {
    c.w.push_back(round_to(dtype, static_cast<float>(0.05 * random.gaussian() + 0.01)));
    c.h.push_back(static_cast<float>(std::exp(1.5 * random.gaussian())));
  }
  return c;
}

double minmax_error(const Case& c, AffineSpec spec, DType dtype) {
  std::vector<std::byte> packed(static_cast<std::size_t>(spec.group)), scale(4), bias(4);
  EXPECT_FALSE(encode_group(c.w.data(), spec, dtype, packed.data(), scale.data(), bias.data()));
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(spec.group));
  unpack_codes(packed.data(), spec.group, spec.bits, codes.data());
  float s = 0, b = 0;
  load_floats(dtype, scale.data(), 0, {&s, 1});
  load_floats(dtype, bias.data(), 0, {&b, 1});
  return plain_error(c.w, c.h, codes, s, b);
}

TEST(GroupFit, NeverWorseThanMinMaxAndMuchBetterOnAverage) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
      for (const int group : {32, 64, 128}) {
        const AffineSpec spec{bits, group};
        double fitted = 0, plain = 0;
        for (std::uint64_t seed = 1; seed <= 40; ++seed) {
          const Case c = make_case(group, seed, dtype);
          std::vector<std::uint8_t> codes(static_cast<std::size_t>(group));
          const GroupCode code = fit_group(c.w.data(), c.h.data(), spec, dtype, codes.data());
          EXPECT_EQ(round_to(dtype, code.scale), code.scale);
          EXPECT_EQ(round_to(dtype, code.bias), code.bias);
          for (const std::uint8_t q : codes) EXPECT_LT(q, 1 << bits);
          const double error = plain_error(c.w, c.h, codes, code.scale, code.bias);
          EXPECT_NEAR(error, double{code.error}, 1e-4 * error + 1e-12);
          const double without = minmax_error(c, spec, dtype);
          EXPECT_LE(error, without * 1.0001);
          fitted += error;
          plain += without;
        }
        EXPECT_LT(fitted, plain * (bits <= 4 ? 0.75 : 0.95)) << bits << " bits, group " << group;
      }
    }
  }
}

// All scales and biases of a fine grid, with the best code for each: what the fit cannot beat by
// much and must come near.
TEST(GroupFit, NearTheBestOfAnExhaustiveSearch) {
  double fitted = 0, best_sum = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const Case c = make_case(32, 100 + seed, DType::kF32);
    std::vector<std::uint8_t> codes(32);
    fitted += double{fit_group(c.w.data(), c.h.data(), {2, 32}, DType::kF32, codes.data()).error};
    double best = std::numeric_limits<double>::infinity();
    for (double bias = -0.2; bias < 0.05; bias += 0.0025) {
      for (double scale = 0.005; scale < 0.12; scale += 0.001) {
        double sum = 0;
        for (std::size_t i = 0; i < 32; ++i) {
          const double q =
              std::min(3.0, std::max(0.0, std::round((double{c.w[i]} - bias) / scale)));
          const double e = double{c.w[i]} - (scale * q + bias);
          sum += double{c.h[i]} * e * e;
        }
        best = std::min(best, sum);
      }
    }
    best_sum += best;
  }
  EXPECT_LT(fitted, 1.1 * best_sum);
}

TEST(GroupFit, OddGroups) {
  std::vector<std::uint8_t> codes(32);
  const std::vector<float> ones(32, 1.0f), zeros(32, 0.0f);
  // No importance at all: MLX's code. A constant group: exact.
  const Case c = make_case(32, 7, DType::kBF16);
  const GroupCode none = fit_group(c.w.data(), zeros.data(), {4, 32}, DType::kBF16, codes.data());
  EXPECT_EQ(none.error, 0);
  EXPECT_NEAR(plain_error(c.w, ones, codes, none.scale, none.bias),
              minmax_error({c.w, ones}, {4, 32}, DType::kBF16), 1e-9);
  const std::vector<float> constant(32, 0.5f);
  EXPECT_EQ(fit_group(constant.data(), ones.data(), {3, 32}, DType::kBF16, codes.data()).error, 0);
  EXPECT_EQ(fit_group(zeros.data(), ones.data(), {2, 32}, DType::kF16, codes.data()).error, 0);
  // Squares beyond float32: the result is still a code of the range.
  std::vector<float> huge(32, 1e30f);
  huge[3] = -2e30f;
  const GroupCode big = fit_group(huge.data(), ones.data(), {4, 32}, DType::kF32, codes.data());
  EXPECT_TRUE(std::isfinite(big.scale) && std::isfinite(big.bias));
  huge[9] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(
      std::isnan(fit_group(huge.data(), ones.data(), {4, 32}, DType::kF32, codes.data()).scale));
}

TEST(GroupFit, CodesPackAsTheyUnpack) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    std::vector<std::uint8_t> codes(64), back(64);
    for (std::size_t i = 0; i < 64; ++i)
      codes[i] = static_cast<std::uint8_t>((i * 37) & ((1u << bits) - 1));
    std::vector<std::byte> packed(static_cast<std::size_t>(8 * bits));
    pack_codes(codes.data(), 64, bits, packed.data());
    unpack_codes(packed.data(), 64, bits, back.data());
    EXPECT_EQ(codes, back);
    for (std::size_t i = 0; i < 64; ++i) {  // the rule of affine.h, bit by bit
      for (int k = 0; k < bits; ++k) {
        const std::size_t p = i * static_cast<std::size_t>(bits) + static_cast<std::size_t>(k);
        EXPECT_EQ(std::to_integer<int>(packed[p >> 3] >> (p & 7)) & 1, codes[i] >> k & 1);
      }
    }
  }
}

}  // namespace
}  // namespace qx
