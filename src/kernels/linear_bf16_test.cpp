// Bfloat16 products: tables with an instruction for them against a plain computation of the same
// order, bit for bit; all tables against double precision, and against themselves row by row.
// Weights, x and outputs end at a page that may not be touched.
// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kernels/ref.h"
#include "kernels/test_matrices.h"

namespace qx {
namespace {

using Halves = GuardedBuffer<std::uint16_t>;

// What a caller does with rows of float32: the table's own product, or linear with rounded rows.
class Rounded {
 public:
  // x: [m, cols] float32, dense.
  Rounded(std::span<const float> x, std::int64_t m, std::int64_t cols)
      : m_(m), cols_(cols), floats_(x.size()), halves_(m * padded_bf16(cols)) {
    for (std::size_t i = 0; i < x.size(); ++i) floats_[i] = bf16_to_f32(f32_to_bf16(x[i]));
    for (std::int64_t i = 0; i < m; ++i) {
      std::uint16_t* row = halves_.data() + i * padded_bf16(cols);
      std::fill_n(row, padded_bf16(cols), std::uint16_t{0});
      for (std::int64_t k = 0; k < cols; ++k) row[k] = f32_to_bf16(x[i * cols + k]);
    }
  }
  const float* row(std::int64_t i) const { return floats_.data() + i * cols_; }

  // [count, n.end - n.begin] for rows [first, first + count).
  std::vector<float> run(const KernelTable& table, const WeightRows& w, std::int64_t first,
                         std::int64_t count, Columns n) const {
    const std::int64_t width = n.end - n.begin, out_stride = width + 2;
    Floats out((count - 1) * out_stride + width);
    std::fill(out.span().begin(), out.span().end(), 12345.0f);
    float* scratch = fresh_scratch(w.cols);
    if (table.linear_bf16 != nullptr) {
      const std::int64_t stride = padded_bf16(cols_);
      table.linear_bf16(halves_.data() + first * stride, count, stride, w, n.begin, n.end,
                        out.data(), out_stride, scratch);
    } else {
      table.linear(row(first), count, cols_, w, n.begin, n.end, out.data(), out_stride, scratch);
    }
    EXPECT_TRUE(out.front_intact());
    std::vector<float> packed;
    for (std::int64_t i = 0; i < count; ++i) {
      const float* from = out.data() + i * out_stride;
      packed.insert(packed.end(), from, from + width);
      if (i + 1 < count) {
        EXPECT_EQ(from[width], 12345.0f) << "written between rows";
      }
    }
    return packed;
  }
  std::vector<float> run(const KernelTable& table, const WeightRows& w, Columns n) const {
    return run(table, w, 0, m_, n);
  }

 private:
  std::int64_t m_, cols_;
  Floats floats_;
  Halves halves_;
};

// The order of api.h in plain C++, for values whose sums are never subnormal.
float plain_dot(const float* w, const float* x, std::int64_t n) {
  const auto at = [n](const float* v, std::int64_t k) { return k < n ? v[k] : 0.0f; };
  float p[16] = {};
  for (std::int64_t k = 0; k < n; k += 2) {
    float& sum = p[k % 32 / 2];
    sum = std::fma(at(w, k + 1), at(x, k + 1), sum);
    sum = std::fma(at(w, k), at(x, k), sum);
  }
  for (int half = 8; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) p[l] += p[l + half];
  }
  return p[0];
}

void check_bf16(const Matrix& matrix, Random& random, std::int64_t m, Columns n) {
  const WeightRows& w = matrix.view;
  SCOPED_TRACE(::testing::Message()
               << "K " << w.cols << " M " << m << " rows " << n.begin << ".." << n.end);
  const Rounded x(gaussians(random, m * w.cols), m, w.cols);
  const std::int64_t width = n.end - n.begin;
  // Twice the terms in each partial sum.
  const std::int64_t terms = 2 * padded_bf16(w.cols);
  std::vector<float> scalar;
  for (const KernelTable* table : all_tables()) {
    SCOPED_TRACE(table->name);
    const std::vector<float> got = x.run(*table, w, n);
    if (scalar.empty()) scalar = got;
    if (table->linear_bf16 == nullptr) {
      ASSERT_TRUE(same_bits(got, scalar));
    }
    for (std::int64_t i = 0; i < width; ++i) {
      const std::vector<float> row = ref_decode_row(w, n.begin + i);
      for (std::int64_t j = 0; j < m; ++j) {
        const float value = got[j * width + i];
        const RefSum truth = ref_dot(row.data(), x.row(j), w.cols);
        ASSERT_NEAR(value, truth.value, dot_tolerance(terms, truth.magnitude)) << i << " " << j;
        if (table->linear_bf16 != nullptr) {
          ASSERT_EQ(value, plain_dot(row.data(), x.row(j), w.cols)) << i << " " << j;
        }
      }
    }
    for (std::int64_t j = 0; j < m; j += std::max<std::int64_t>(1, (m - 1) / 2)) {
      ASSERT_TRUE(same_bits(x.run(*table, w, j, 1, n), std::span(got).subspan(j * width, width)));
    }
  }
}

TEST(LinearBf16, EveryLength) {
  Random random(31);
  for (const std::int64_t cols : kSizes) {
    const Matrix matrix = float_matrix(random, WeightKind::kBF16, 10, cols);
    for (const std::int64_t m : {1, 3, 6, 7, 24, 25, 31}) check_bf16(matrix, random, m, {0, 10});
  }
}

TEST(LinearBf16, EveryRowCount) {
  Random random(32);
  const Matrix matrix = float_matrix(random, WeightKind::kBF16, 13, 99);
  for (std::int64_t m = 1; m <= 32; ++m) check_bf16(matrix, random, m, {0, 13});
  for (const std::int64_t m : {47, 48, 49, 54, 96, 97, 130}) check_bf16(matrix, random, m, {2, 13});
}

TEST(LinearBf16, EveryRangeOfRows) {
  Random random(33);
  const Matrix matrix = float_matrix(random, WeightKind::kBF16, 250, 70);
  for (const std::int64_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 95, 96, 97, 193, 250}) {
    for (const std::int64_t m : {1, 5, 26}) check_bf16(matrix, random, m, {250 - count, 250});
  }
  for (const std::int64_t m : {2, 26}) check_bf16(matrix, random, m, {5, 7});
}

// Passes between which sums rest in scratch, and tiles of fewer rows.
TEST(LinearBf16, LongRows) {
  Random random(34);
  for (const std::int64_t cols : {2047, 2048, 2049, 4096, 4131, 6200}) {
    const Matrix matrix = float_matrix(random, WeightKind::kBF16, 9, cols);
    for (const std::int64_t m : {1, 8, 25, 50}) check_bf16(matrix, random, m, {0, 9});
  }
  // So long that a tile is smaller than the range.
  check_bf16(float_matrix(random, WeightKind::kBF16, 96, 9000), random, 25, {0, 96});
}

// So long that a tile is as small as can be, and a larger one would not fit scratch.
TEST(LinearBf16, LongestRows) {
  Random random(39);
  constexpr std::int64_t kCols = 51300, kRows = 64, kM = 25;
  const Matrix matrix = float_matrix(random, WeightKind::kBF16, kRows, kCols);
  const Rounded x(gaussians(random, kM * kCols), kM, kCols);
  for (const KernelTable* table : all_tables()) {
    if (table->linear_bf16 == nullptr) continue;
    SCOPED_TRACE(table->name);
    const std::vector<float> got = x.run(*table, matrix.view, {0, kRows});
    for (const std::int64_t j : {std::int64_t{0}, kM - 1}) {
      EXPECT_TRUE(same_bits(x.run(*table, matrix.view, j, 1, {0, kRows}),
                            std::span(got).subspan(j * kRows, kRows)));
    }
  }
}

TEST(LinearBf16, WeightsAtOddAddresses) {
  Random random(35);
  const Matrix matrix = float_matrix(random, WeightKind::kBF16, 7, 77);
  std::vector<std::byte> moved(matrix.values.size() + 1);
  std::memcpy(moved.data() + 1, matrix.values.data(), matrix.values.size());
  WeightRows odd = matrix.view;
  odd.values = moved.data() + 1;
  const Rounded x(gaussians(random, 26 * 77), 26, 77);
  for (const KernelTable* table : all_tables()) {
    SCOPED_TRACE(table->name);
    for (const std::int64_t m : {1, 26}) {
      EXPECT_TRUE(
          same_bits(x.run(*table, odd, 0, m, {0, 7}), x.run(*table, matrix.view, 0, m, {0, 7})));
    }
  }
}

TEST(LinearBf16, NotFiniteStaysInItsRow) {
  Random random(36);
  const std::int64_t cols = 77;
  const Matrix matrix = float_matrix(random, WeightKind::kBF16, 9, cols);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const std::int64_t m : {1, 5, 26}) {
      std::vector<float> values = gaussians(random, m * cols);
      const Rounded clean(values, m, cols);
      values[(m - 1) * cols + 76] = bad;
      const Rounded dirty(values, m, cols);
      for (const KernelTable* table : all_tables()) {
        SCOPED_TRACE(table->name);
        const auto good = clean.run(*table, matrix.view, {0, 9});
        const auto out = dirty.run(*table, matrix.view, {0, 9});
        const std::size_t before = (m - 1) * 9;
        EXPECT_TRUE(same_bits(std::span(out).first(before), std::span(good).first(before)));
        for (std::size_t i = before; i < out.size(); ++i) EXPECT_FALSE(std::isfinite(out[i]));
      }
    }
  }
}

// Subnormal weights, x and sums.
TEST(LinearBf16, SubnormalsAreZero) {
  const std::int64_t cols = 40;
  Random random(37);
  Matrix matrix = float_matrix(random, WeightKind::kBF16, 5, cols);
  const auto fill = [&](float value) {
    for (std::int64_t i = 0; i < 5 * cols; ++i) {
      write_float(ScaleKind::kBF16, value, matrix.values.data() + 2 * i);
    }
  };
  const std::pair<float, float> pairs[] = {
      {0x1p-130f, 1.0f}, {1.0f, 0x1p-130f}, {0x1p-70f, 0x1p-62f}};
  for (const auto& [weight, value] : pairs) {
    fill(weight);
    for (const std::int64_t m : {1, 26}) {
      const Rounded x(std::vector<float>(m * cols, value), m, cols);
      for (const KernelTable* table : all_tables()) {
        if (table->linear_bf16 == nullptr) continue;
        for (const float y : x.run(*table, matrix.view, {0, 5})) EXPECT_EQ(y, 0.0f);
      }
    }
  }
}

TEST(RoundBf16, HalfToEvenAndPadded) {
  Random random(38);
  for (const KernelTable* table : all_tables()) {
    EXPECT_EQ(table->round_bf16 == nullptr, table->linear_bf16 == nullptr);
    if (table->round_bf16 == nullptr) continue;
    SCOPED_TRACE(table->name);
    for (const std::int64_t n : kSizes) {
      std::vector<float> values = gaussians(random, n);
      // Ties to either side, the largest numbers and what is not one.
      const std::uint32_t special[] = {0x3F808000, 0x3F818000, 0x3F808001, 0xBF807FFF, 0x7F7F7FFF,
                                       0x7F7F8000, 0x7F800000, 0xFF800000, 0x80000000, 0};
      for (std::size_t i = 0; i < std::min<std::size_t>(values.size(), std::size(special)); ++i) {
        values[i] = std::bit_cast<float>(special[i]);
      }
      const Floats x = guarded(values);
      Halves out(padded_bf16(n));
      table->round_bf16(x.data(), n, out.data());
      EXPECT_TRUE(out.front_intact());
      for (std::int64_t k = 0; k < padded_bf16(n); ++k) {
        ASSERT_EQ(out[k], k < n ? f32_to_bf16(values[k]) : 0) << n << " " << k;
      }
    }
    const Floats nan = guarded(std::vector<float>(1, std::numeric_limits<float>::quiet_NaN()));
    Halves out(32);
    table->round_bf16(nan.data(), 1, out.data());
    EXPECT_TRUE(std::isnan(bf16_to_f32(out[0])));
  }
}

}  // namespace
}  // namespace qx
