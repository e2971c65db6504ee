// linear(): every table against double precision, against the scalar table bit for bit, and
// against itself row by row, for every kind of weight. Weights, x and outputs end at a page that
// may not be touched.
// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kernels/ref.h"
#include "kernels/test_matrices.h"

namespace qx {
namespace {

// [m, end - begin]. x has row stride x_stride.
std::vector<float> run(const KernelTable& table, const WeightRows& w, const float* x,
                       std::int64_t m, std::int64_t x_stride, Columns n) {
  const std::int64_t width = n.end - n.begin, out_stride = width + 2;
  Floats out((m - 1) * out_stride + width);
  std::fill(out.span().begin(), out.span().end(), 12345.0f);
  table.linear(x, m, x_stride, w, n.begin, n.end, out.data(), out_stride, fresh_scratch(w.cols));
  EXPECT_TRUE(out.front_intact());
  std::vector<float> packed;
  for (std::int64_t i = 0; i < m; ++i) {
    const float* row = out.data() + i * out_stride;
    packed.insert(packed.end(), row, row + width);
    if (i + 1 < m) {
      EXPECT_EQ(row[width], 12345.0f) << "written between rows";
    }
  }
  return packed;
}

// The checks of one matrix, for all tables.
void check(const Matrix& matrix, Random& random, std::int64_t m, Columns n) {
  const WeightRows& w = matrix.view;
  SCOPED_TRACE(::testing::Message()
               << "kind " << static_cast<int>(w.kind) << " bits " << w.bits << " group " << w.group
               << " scales " << static_cast<int>(w.scale_kind) << " K " << w.cols << " M " << m
               << " rows " << n.begin << ".." << n.end);
  const std::int64_t x_stride = w.cols + 1, width = n.end - n.begin;
  const Floats x = guarded(gaussians(random, (m - 1) * x_stride + w.cols));
  const std::vector<float> expected =
      run(*available_kernels().tables[0], w, x.data(), m, x_stride, n);
  for (std::int64_t i = 0; i < width; ++i) {
    const std::vector<float> row = ref_decode_row(w, n.begin + i);
    for (std::int64_t j = 0; j < m; ++j) {
      const RefSum truth = ref_dot(row.data(), x.data() + j * x_stride, w.cols);
      ASSERT_NEAR(expected[j * width + i], truth.value, dot_tolerance(w.cols, truth.magnitude));
    }
  }
  for (const KernelTable* table : all_tables()) {
    SCOPED_TRACE(table->name);
    ASSERT_TRUE(same_bits(run(*table, w, x.data(), m, x_stride, n), expected));
    for (std::int64_t j = 0; j < m; j += std::max<std::int64_t>(1, (m - 1) / 2)) {
      const std::vector<float> alone = run(*table, w, x.data() + j * x_stride, 1, x_stride, n);
      ASSERT_TRUE(same_bits(alone, std::span(expected).subspan(j * width, width)));
    }
  }
}

TEST(Linear, AffineEveryFormat) {
  Random random(11);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      for (const ScaleKind kind : {ScaleKind::kBF16, ScaleKind::kF16, ScaleKind::kF32}) {
        const std::int64_t cols = 3 * group;
        const Matrix matrix = affine_matrix(random, bits, group, kind, 11, cols);
        for (const std::int64_t m : {1, 2, 4, 7, 13}) check(matrix, random, m, {0, 11});
      }
    }
  }
}

TEST(Linear, AffineEveryRowCount) {
  Random random(12);
  for (const int bits : {3, 4, 6}) {
    const Matrix matrix = affine_matrix(random, bits, 64, ScaleKind::kBF16, 30, 192);
    for (std::int64_t m = 1; m <= 20; ++m) check(matrix, random, m, {0, 30});
  }
  const Matrix matrix = affine_matrix(random, 4, 64, ScaleKind::kBF16, 22, 64);
  for (const std::int64_t m : {63, 64, 65, 66, 130}) check(matrix, random, m, {3, 22});
}

TEST(Linear, EveryRangeOfRows) {
  Random random(13);
  const Matrix matrix = affine_matrix(random, 4, 32, ScaleKind::kF16, 60, 64);
  for (const std::int64_t count :
       {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 18, 19, 23, 24, 25, 47, 48, 49, 58}) {
    for (const std::int64_t m : {1, 3, 6, 24}) check(matrix, random, m, {60 - count, 60});
  }
  check(matrix, random, 3, {5, 7});
  check(matrix, random, 24, {1, 2});
}

TEST(Linear, LongRowsGoInSeveralPasses) {
  Random random(14);
  for (const std::int64_t cols : {768, 800, 1536, 1568, 2336}) {
    const Matrix matrix = affine_matrix(random, 4, 32, ScaleKind::kBF16, 9, cols);
    for (const std::int64_t m : {1, 5, 12}) check(matrix, random, m, {0, 9});
  }
  // So long that fewer weight rows are decoded at a time.
  check(affine_matrix(random, 3, 64, ScaleKind::kBF16, 18, 20480), random, 10, {0, 18});
}

TEST(Linear, FloatWeightsOfEveryLength) {
  Random random(15);
  for (const WeightKind kind : {WeightKind::kF32, WeightKind::kF16, WeightKind::kBF16}) {
    for (const std::int64_t cols : {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 100, 577, 775, 1543}) {
      const Matrix matrix = float_matrix(random, kind, 10, cols);
      for (const std::int64_t m : {1, 3, 8, 9, 11}) check(matrix, random, m, {0, 10});
    }
  }
}

// A model file may put a tensor at any byte.
TEST(Linear, WeightsAtOddAddresses) {
  Random random(16);
  const Matrix matrix = affine_matrix(random, 5, 64, ScaleKind::kF32, 7, 128);
  const Matrix floats = float_matrix(random, WeightKind::kBF16, 7, 45);
  std::vector<std::byte> codes(matrix.values.size() + 1), scales(matrix.scales.size() + 1),
      biases(matrix.biases.size() + 1), rows(floats.values.size() + 1);
  std::memcpy(codes.data() + 1, matrix.values.data(), matrix.values.size());
  std::memcpy(scales.data() + 1, matrix.scales.data(), matrix.scales.size());
  std::memcpy(biases.data() + 1, matrix.biases.data(), matrix.biases.size());
  std::memcpy(rows.data() + 1, floats.values.data(), floats.values.size());
  WeightRows odd = matrix.view, odd_floats = floats.view;
  odd.values = codes.data() + 1;
  odd.scales = scales.data() + 1;
  odd.biases = biases.data() + 1;
  odd_floats.values = rows.data() + 1;
  const Floats x = guarded(gaussians(random, 12 * 128));
  for (const KernelTable* table : all_tables()) {
    SCOPED_TRACE(table->name);
    for (const std::int64_t m : {1, 4, 12}) {
      EXPECT_TRUE(same_bits(run(*table, odd, x.data(), m, 128, {0, 7}),
                            run(*table, matrix.view, x.data(), m, 128, {0, 7})));
      EXPECT_TRUE(same_bits(run(*table, odd_floats, x.data(), m, 128, {0, 7}),
                            run(*table, floats.view, x.data(), m, 128, {0, 7})));
    }
  }
}

TEST(Linear, NotFiniteStaysInItsRow) {
  Random random(17);
  const Matrix matrix = affine_matrix(random, 4, 64, ScaleKind::kBF16, 9, 192);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const std::int64_t m : {1, 3, 10}) {
      const std::vector<float> clean = gaussians(random, m * 192);
      std::vector<float> dirty = clean;
      dirty[(m - 1) * 192 + 70] = bad;
      std::vector<float> expected;
      for (const KernelTable* table : all_tables()) {
        SCOPED_TRACE(table->name);
        const auto good = run(*table, matrix.view, clean.data(), m, 192, {0, 9});
        const auto out = run(*table, matrix.view, dirty.data(), m, 192, {0, 9});
        if (expected.empty()) expected = out;
        EXPECT_TRUE(same_bits(out, expected));
        const std::size_t before = (m - 1) * 9;
        EXPECT_TRUE(same_bits(std::span(out).first(before), std::span(good).first(before)));
        for (std::size_t i = before; i < out.size(); ++i) EXPECT_FALSE(std::isfinite(out[i]));
      }
    }
  }
}

// Products that underflow to -0 meet the padding of the last vector: a sum must not become +0
// there.
TEST(Linear, SignOfZeroSurvivesTheTail) {
  for (const std::int64_t cols : {16, 17, 20}) {
    Random random(18);
    const Matrix matrix = float_matrix(random, WeightKind::kF32, 9, cols);
    for (std::int64_t i = 0; i < 9 * cols; ++i) {
      write_float(ScaleKind::kF32, 1e-30f, const_cast<std::byte*>(matrix.values.data()) + 4 * i);
    }
    const std::vector<float> x(10 * cols, -1e-30f);
    for (const KernelTable* table : all_tables()) {
      SCOPED_TRACE(table->name);
      for (const std::int64_t m : {1, 10}) {
        for (const float y : run(*table, matrix.view, x.data(), m, cols, {0, 9})) {
          EXPECT_TRUE(same(y, -0.0f)) << y;
        }
      }
    }
  }
}

}  // namespace
}  // namespace qx
