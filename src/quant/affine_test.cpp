// SPDX-License-Identifier: Apache-2.0
#include "quant/affine.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace qx {
namespace {

constexpr std::array kBits = {2, 3, 4, 5, 6, 8};
constexpr std::array kGroups = {32, 64, 128};
constexpr std::array kDTypes = {DType::kBF16, DType::kF16, DType::kF32};

std::vector<std::byte> random_values(DType dtype, std::int64_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> floats(n);
  for (float& f : floats) f = static_cast<float>(0.02 * random.gaussian());
  std::vector<std::byte> bytes(n * dtype_bytes(dtype));
  store_floats(dtype, floats, bytes.data());
  return bytes;
}

struct Stored {
  std::vector<std::byte> codes, scales, biases;
  AffineOut out() { return {codes.data(), scales.data(), biases.data()}; }
  Stored(MatrixShape shape, AffineSpec spec, DType dtype)
      : codes(shape.rows * code_bytes_per_row(shape.cols, spec.bits)),
        scales(shape.rows * groups_per_row(shape.cols, spec.group) * dtype_bytes(dtype)),
        biases(scales.size()) {}
};

TEST(Affine, ValidSpecs) {
  for (const int bits : kBits) {
    for (const int group : kGroups) EXPECT_TRUE(is_valid({bits, group}));
  }
  for (const AffineSpec bad :
       {AffineSpec{7, 64}, {1, 64}, {0, 32}, {16, 32}, {4, 16}, {4, 0}, {-4, 64}, {4, 256}}) {
    EXPECT_FALSE(is_valid(bad)) << bad.bits << " " << bad.group;
  }
}

TEST(Affine, BytesAreBitsPlusTwoScalesPerGroup) {
  // 4 bits at group 32 in bf16 is 5 bits a weight, 3 bits 4, 6 bits at group 64 in f32 is 7.
  EXPECT_EQ(affine_bytes({10, 640}, {4, 32}, DType::kBF16), 6400 * 5 / 8);
  EXPECT_EQ(affine_bytes({10, 640}, {3, 32}, DType::kF16), 6400 * 4 / 8);
  EXPECT_EQ(affine_bytes({10, 640}, {6, 64}, DType::kF32), 6400 * 7 / 8);
}

TEST(Affine, SpecIsInferredFromShapes) {
  for (const int bits : kBits) {
    for (const int group : kGroups) {
      for (const std::int64_t cols : {128, 384, 5120}) {
        const auto spec = infer_affine_spec(cols / 32 * bits, cols / group, cols);
        ASSERT_TRUE(spec.has_value());
        EXPECT_EQ(*spec, (AffineSpec{bits, group}));
      }
    }
  }
  EXPECT_FALSE(infer_affine_spec(128 / 32 * 7, 2, 128));
  EXPECT_FALSE(infer_affine_spec(16, 3, 128));
  EXPECT_FALSE(infer_affine_spec(0, 0, 0));
  EXPECT_FALSE(infer_affine_spec(INT64_MAX, INT64_MAX, INT64_MAX));
  EXPECT_FALSE(infer_affine_spec(INT64_MAX / 4 * 4, INT64_MAX / 64, INT64_MAX));
}

// Rows longer than one chunk of the encoder, encoded whole and row by row.
TEST(Affine, RowsAreIndependent) {
  constexpr MatrixShape kShape{5, 4096 + 128};
  for (const DType dtype : kDTypes) {
    for (const int bits : kBits) {
      const AffineSpec spec{bits, 128};
      const auto values = random_values(dtype, kShape.rows * kShape.cols, bits);
      Stored whole(kShape, spec, dtype), single(kShape, spec, dtype);
      ASSERT_FALSE(encode_rows(dtype, values.data(), kShape, spec, Rounding::kCpu, whole.out()));
      for (std::int64_t r = 0; r < kShape.rows; ++r) {
        const std::int64_t parameter =
            r * groups_per_row(kShape.cols, 128) * static_cast<std::int64_t>(dtype_bytes(dtype));
        ASSERT_FALSE(
            encode_rows(dtype, values.data() + r * kShape.cols * dtype_bytes(dtype),
                        {1, kShape.cols}, spec, Rounding::kCpu,
                        {single.codes.data() + r * code_bytes_per_row(kShape.cols, bits),
                         single.scales.data() + parameter, single.biases.data() + parameter}));
      }
      EXPECT_EQ(whole.codes, single.codes);
      EXPECT_EQ(whole.scales, single.scales);
      EXPECT_EQ(whole.biases, single.biases);
    }
  }
}

// Decoding an encoding comes within a step of the weights; the step is the group's range / (2^bits - 1).
TEST(Affine, DecodeInvertsEncode) {
  constexpr MatrixShape kShape{7, 4096 + 64};
  for (const DType dtype : kDTypes) {
    for (const int bits : kBits) {
      for (const Rounding rounding : {Rounding::kCpu, Rounding::kGpu}) {
        const AffineSpec spec{bits, 32};
        const auto values = random_values(dtype, kShape.rows * kShape.cols, 90 + bits);
        Stored stored(kShape, spec, dtype);
        ASSERT_FALSE(encode_rows(dtype, values.data(), kShape, spec, rounding, stored.out()));
        const AffineView view{
            kShape, spec, dtype, stored.codes.data(), stored.scales.data(), stored.biases.data()};
        std::vector<float> source(kShape.rows * kShape.cols), decoded(2 * kShape.cols);
        load_floats(dtype, values.data(), 0, source);
        decode_rows(view, {3, 5}, decoded);
        for (std::size_t i = 0; i < decoded.size(); ++i) {
          const float* group = source.data() + 3 * kShape.cols + i / 32 * 32;
          const auto [low, high] = std::minmax_element(group, group + 32);
          const double range = static_cast<double>(*high) - static_cast<double>(*low);
          const double step = range / ((1 << bits) - 1);
          // Rounding the scale to T moves the far end by up to 2^-9 of the range in bf16.
          const double error = static_cast<double>(decoded[i]) - static_cast<double>(group[i % 32]);
          EXPECT_LE(std::fabs(error), 1.1 * step + 0.004 * range);
        }
      }
    }
  }
}

TEST(Affine, FirstValueThatIsNotFiniteIsNamed) {
  constexpr MatrixShape kShape{3, 4096 + 256};
  for (const DType dtype : kDTypes) {
    for (const std::int64_t at : {0, 31, 4095, 4096, 4352, 4352 * 2 + 4351}) {
      auto values = random_values(dtype, kShape.rows * kShape.cols, 1);
      const float bad[] = {at % 2 == 0 ? std::numeric_limits<float>::infinity()
                                       : std::numeric_limits<float>::quiet_NaN()};
      store_floats(dtype, bad, values.data() + at * dtype_bytes(dtype));
      Stored stored(kShape, {4, 64}, dtype);
      EXPECT_EQ(encode_rows(dtype, values.data(), kShape, {4, 64}, Rounding::kCpu, stored.out()),
                at);
    }
  }
}

TEST(Affine, WrongUseIsCaught) {
  std::vector<float> out(64);
  const AffineView view{{1, 64}, {4, 64}, DType::kBF16, nullptr, nullptr, nullptr};
  EXPECT_THROW(decode_rows(view, {0, 2}, out), InternalError);
  EXPECT_THROW(encode_rows(DType::kBF16, nullptr, {1, 96}, {4, 64}, Rounding::kCpu, {}),
               InternalError);
  EXPECT_THROW(encode_rows(DType::kU32, nullptr, {1, 64}, {4, 64}, Rounding::kCpu, {}),
               InternalError);
}

}  // namespace
}  // namespace qx
