// Integer activations and linear_integer(): every table against double precision, against the
// scalar table bit for bit, and against itself row by row and range by range.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/ref.h"
#include "kernels/test_matrices.h"

namespace qx {
namespace {

// Owns what an IntegerRows points to; full of rubbish until quantized.
class Activations {
 public:
  Activations(std::int64_t rows, std::int64_t cols, int group, int planes)
      : codes_(rows * planes * plane_bytes(cols)),
        scales_(rows * padded_groups(cols, group)),
        sums_(rows * padded_groups(cols, group)),
        apart_(rows * most_apart(cols, group)),
        counts_(rows) {
    for (std::size_t i = 0; i < codes_.size(); ++i) codes_[i] = std::int8_t{-77};
    std::fill(scales_.span().begin(), scales_.span().end(), 1e30f);
    std::fill(sums_.span().begin(), sums_.span().end(), 1e30f);
    std::fill(apart_.span().begin(), apart_.span().end(), ApartElement{-1, 1e30f});
    view = {planes,
            group,
            cols,
            planes * plane_bytes(cols),
            padded_groups(cols, group),
            codes_.data(),
            scales_.data(),
            sums_.data(),
            most_apart(cols, group),
            planes == 2 ? apart_.data() : nullptr,
            planes == 2 ? counts_.data() : nullptr};
  }
  void quantize(const KernelTable& table, const float* x, std::int64_t rows,
                std::int64_t x_stride) {
    for (std::int64_t m = 0; m < rows; ++m) {
      ApartElement* apart = view.apart == nullptr ? nullptr : view.apart + m * view.apart_stride;
      counts_.data()[m] = table.quantize_row(
          x + m * x_stride, view.cols, view.group, view.planes, view.codes + m * view.row_bytes,
          view.scales + m * view.groups_stride, view.sums + m * view.groups_stride, apart);
    }
    EXPECT_TRUE(codes_.front_intact() && scales_.front_intact() && sums_.front_intact());
    EXPECT_TRUE(apart_.front_intact() && counts_.front_intact());
  }
  std::span<const std::int8_t> codes() const { return codes_.span(); }
  std::span<const float> scales() const { return scales_.span(); }
  std::span<const float> sums() const { return sums_.span(); }
  std::span<const ApartElement> apart(std::int64_t m) const {
    return view.apart == nullptr ? std::span<const ApartElement>()
                                 : std::span<const ApartElement>(view.apart + m * view.apart_stride,
                                                                 counts_.span()[m]);
  }
  std::int64_t rows() const { return static_cast<std::int64_t>(counts_.size()); }
  int value(std::int64_t m, std::int64_t k) const {
    const std::int8_t* row = view.codes + m * view.row_bytes;
    return view.planes == 1 ? row[k] : 256 * row[k] + row[plane_bytes(view.cols) + k];
  }
  IntegerRows view;

 private:
  GuardedBuffer<std::int8_t> codes_;
  Floats scales_, sums_;
  GuardedBuffer<ApartElement> apart_;
  GuardedBuffer<std::int32_t> counts_;
};

// Activations as layers have them: a few elements are far larger than the others, by factors of up
// to a thousand.
std::vector<float> activations(Random& random, std::int64_t rows, std::int64_t cols) {
  std::vector<float> values = gaussians(random, rows * cols);
  for (std::int64_t i = 0; i < rows * (1 + cols / 150); ++i) {
    const std::int64_t at = static_cast<std::int64_t>(random.next() % values.size());
    values[at] *= static_cast<float>(std::pow(10.0, 3 * std::abs(random.gaussian()) / 2));
  }
  return values;
}

std::vector<float> product(const KernelTable& table, const IntegerRows& x, std::int64_t m_begin,
                           std::int64_t m_end, const WeightRows& w, Columns n) {
  const std::int64_t rows = m_end - m_begin, width = n.end - n.begin, stride = width + 3;
  Floats out((rows - 1) * stride + width);
  std::fill(out.span().begin(), out.span().end(), 12345.0f);
  table.linear_integer(x, m_begin, m_end, w, n.begin, n.end, out.data(), stride,
                       fresh_scratch(w.cols));
  EXPECT_TRUE(out.front_intact());
  std::vector<float> packed;
  for (std::int64_t i = 0; i < rows; ++i) {
    const float* row = out.data() + i * stride;
    packed.insert(packed.end(), row, row + width);
    if (i + 1 < rows) {
      EXPECT_EQ(row[width], 12345.0f) << "written between rows";
    }
  }
  return packed;
}

// Each group: a product and an addition in t, then one addition to a partial sum; two more at the
// end.
double integer_tolerance(std::int64_t groups, double magnitude) {
  return static_cast<double>((groups + 3) / 4 + 6) * kUnitRoundoff * magnitude +
         static_cast<double>(groups) * 0x1p-149;
}

void check(const Matrix& matrix, Random& random, std::int64_t m, Columns n, int planes) {
  const WeightRows& w = matrix.view;
  SCOPED_TRACE(::testing::Message()
               << "bits " << w.bits << " group " << w.group << " scales "
               << static_cast<int>(w.scale_kind) << " K " << w.cols << " M " << m << " rows "
               << n.begin << ".." << n.end << " planes " << planes);
  const std::int64_t width = n.end - n.begin;
  Activations x(m, w.cols, w.group, planes);
  const std::vector<float> values = activations(random, m, w.cols);
  x.quantize(*integer_tables()[0], values.data(), m, w.cols);
  const std::vector<float> expected = product(*integer_tables()[0], x.view, 0, m, w, n);
  for (std::int64_t j = 0; j < m; ++j) {
    for (std::int64_t i = 0; i < width; ++i) {
      const RefSum truth = ref_integer_product(x.view, j, w, n.begin + i);
      ASSERT_NEAR(expected[j * width + i], truth.value,
                  integer_tolerance(w.cols / w.group, truth.magnitude));
    }
  }
  for (const KernelTable* table : integer_tables()) {
    SCOPED_TRACE(table->name);
    ASSERT_TRUE(same_bits(product(*table, x.view, 0, m, w, n), expected));
    for (std::int64_t j = 0; j < m; j += std::max<std::int64_t>(1, (m - 1) / 2)) {
      ASSERT_TRUE(same_bits(product(*table, x.view, j, j + 1, w, n),
                            std::span(expected).subspan(j * width, width)));
    }
  }
}

TEST(IntegerLinear, EveryFormat) {
  Random random(21);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      for (const ScaleKind kind : {ScaleKind::kBF16, ScaleKind::kF16, ScaleKind::kF32}) {
        for (const int groups : {1, 3, 5}) {
          const Matrix matrix = affine_matrix(random, bits, group, kind, 19, groups * group);
          for (const std::int64_t m : {1, 2, 3, 7, 13}) {
            for (const int planes : {1, 2}) check(matrix, random, m, {0, 19}, planes);
          }
        }
      }
    }
  }
}

TEST(IntegerLinear, EveryRowCount) {
  Random random(22);
  for (const int bits : {3, 4, 6}) {
    const Matrix matrix = affine_matrix(random, bits, 64, ScaleKind::kBF16, 37, 192);
    for (std::int64_t m = 1; m <= 27; ++m)
      check(matrix, random, m, {0, 37}, static_cast<int>(1 + m % 2));
  }
  // Long rows, whose columns a kernel may take in pieces; the last is half a step.
  for (const int bits : {2, 3, 4, 6}) {
    const Matrix matrix = affine_matrix(random, bits, 32, ScaleKind::kBF16, 35, 1120);
    for (const std::int64_t m : {5, 8, 9, 16, 17}) check(matrix, random, m, {0, 35}, 2);
  }
  const Matrix matrix = affine_matrix(random, 4, 32, ScaleKind::kBF16, 70, 96);
  for (const std::int64_t m : {47, 48, 49, 63, 64, 65, 130}) check(matrix, random, m, {1, 70}, 2);
}

TEST(IntegerLinear, EveryRangeOfRows) {
  Random random(23);
  const Matrix matrix = affine_matrix(random, 4, 32, ScaleKind::kF16, 140, 64);
  for (const std::int64_t count : {1,  2,  3,  4,  5,  8,  15, 16, 17, 24,  31,  32,  33,
                                   47, 48, 49, 63, 64, 65, 95, 96, 97, 127, 128, 129, 137}) {
    for (const std::int64_t m : {1, 3, 6, 24}) check(matrix, random, m, {140 - count, 140}, 2);
  }
  check(matrix, random, 3, {5, 7}, 2);
  check(matrix, random, 24, {1, 2}, 1);
}

TEST(IntegerLinear, EveryNumberOfGroups) {
  Random random(24);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      for (std::int64_t groups = 1; groups <= 18; ++groups) {
        const Matrix matrix =
            affine_matrix(random, bits, group, ScaleKind::kBF16, 6, groups * group);
        check(matrix, random, 1, {0, 6}, 2);
        if (groups % 5 == 0) check(matrix, random, 9, {0, 6}, 1 + static_cast<int>(groups % 2));
      }
    }
  }
  check(affine_matrix(random, 4, 128, ScaleKind::kBF16, 33, 20480), random, 10, {0, 33}, 2);
}

TEST(IntegerLinear, ASumOfLargestProductsIsExact) {
  for (const int group : {32, 64, 128}) {
    Random random(25);
    Matrix matrix = affine_matrix(random, 8, group, ScaleKind::kF32, 5, 3 * group);
    for (std::byte& b : matrix.values.span()) b = std::byte{0xFF};
    for (const int planes : {1, 2}) {
      for (const float sign : {1.0f, -1.0f}) {
        for (const std::int64_t m : {1, 9}) {
          Activations x(m, 3 * group, group, planes);
          const std::vector<float> values(m * 3 * group, sign * 3.5f);
          x.quantize(*integer_tables()[0], values.data(), m, 3 * group);
          ASSERT_EQ(x.value(0, 0), static_cast<int>(sign) * (planes == 2 ? 32512 : 127));
          const std::vector<float> expected =
              product(*integer_tables()[0], x.view, 0, m, matrix.view, {0, 5});
          const RefSum truth = ref_integer_product(x.view, 0, matrix.view, 2);
          EXPECT_NEAR(expected[2], truth.value, integer_tolerance(3, truth.magnitude));
          for (const KernelTable* table : integer_tables()) {
            EXPECT_TRUE(same_bits(product(*table, x.view, 0, m, matrix.view, {0, 5}), expected))
                << table->name;
          }
        }
      }
    }
  }
}

// The largest codes times the bytes of x that are largest in magnitude: 16-bit sums inside a kernel
// would overflow here first.
TEST(IntegerLinear, LargestBytesOfEveryWidth) {
  Random random(31);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      const std::int64_t cols = 5 * group;
      Matrix matrix = affine_matrix(random, bits, group, ScaleKind::kF32, 5, cols);
      for (std::byte& b : matrix.values.span()) b = std::byte{0xFF};
      for (const int planes : {1, 2}) {
        for (const int high : {planes == 2 ? -126 : -127, 127}) {
          for (const std::int64_t m : {1, 2, 3, 9}) {
            SCOPED_TRACE(::testing::Message() << "bits " << bits << " group " << group << " planes "
                                              << planes << " high " << high << " M " << m);
            Activations x(m, cols, group, planes);
            x.quantize(*integer_tables()[0], gaussians(random, m * cols).data(), m, cols);
            for (std::int64_t i = 0; i < m; ++i) {
              std::int8_t* row = x.view.codes + i * x.view.row_bytes;
              std::fill_n(row, cols, static_cast<std::int8_t>(high));
              if (planes == 2) std::fill_n(row + plane_bytes(cols), cols, std::int8_t{-128});
              const int a = planes == 2 ? 256 * high - 128 : high;
              std::fill_n(x.view.sums + i * x.view.groups_stride, 5, static_cast<float>(group * a));
            }
            const std::vector<float> expected =
                product(*integer_tables()[0], x.view, 0, m, matrix.view, {0, 5});
            for (const KernelTable* table : integer_tables()) {
              EXPECT_TRUE(same_bits(product(*table, x.view, 0, m, matrix.view, {0, 5}), expected))
                  << table->name;
            }
          }
        }
      }
    }
  }
}

TEST(IntegerLinear, ScalesOfEverySize) {
  Random random(26);
  for (const float scale : {1e-38f, 1e-30f, 1e30f, 3e38f, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    Matrix matrix = affine_matrix(random, 5, 32, ScaleKind::kF32, 18, 160);
    for (int i = 0; i < 18 * 5; i += 3) {
      std::memcpy(matrix.scales.data() + 4 * i, &scale, 4);
      std::memcpy(matrix.biases.data() + 4 * (i + 1), &scale, 4);
    }
    for (const std::int64_t m : {1, 9}) {
      Activations x(m, 160, 32, 2);
      x.quantize(*integer_tables()[0], gaussians(random, m * 160).data(), m, 160);
      const std::vector<float> expected =
          product(*integer_tables()[0], x.view, 0, m, matrix.view, {0, 18});
      for (const KernelTable* table : integer_tables()) {
        EXPECT_TRUE(same_bits(product(*table, x.view, 0, m, matrix.view, {0, 18}), expected))
            << table->name << " " << scale;
      }
    }
  }
}

TEST(IntegerLinear, WeightsAtOddAddresses) {
  Random random(27);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    const Matrix matrix = affine_matrix(random, bits, 64, ScaleKind::kBF16, 35, 320);
    std::vector<std::byte> codes(matrix.values.size() + 1), scales(matrix.scales.size() + 1),
        biases(matrix.biases.size() + 1);
    std::memcpy(codes.data() + 1, matrix.values.data(), matrix.values.size());
    std::memcpy(scales.data() + 1, matrix.scales.data(), matrix.scales.size());
    std::memcpy(biases.data() + 1, matrix.biases.data(), matrix.biases.size());
    WeightRows odd = matrix.view;
    odd.values = codes.data() + 1;
    odd.scales = scales.data() + 1;
    odd.biases = biases.data() + 1;
    for (const std::int64_t m : {1, 5, 20}) {
      Activations x(m, 320, 64, 2);
      x.quantize(*integer_tables()[0], gaussians(random, m * 320).data(), m, 320);
      for (const KernelTable* table : integer_tables()) {
        EXPECT_TRUE(same_bits(product(*table, x.view, 0, m, odd, {0, 35}),
                              product(*table, x.view, 0, m, matrix.view, {0, 35})))
            << table->name;
      }
    }
  }
}

void expect_same_activations(const Activations& a, const Activations& b) {
  EXPECT_TRUE(std::equal(a.codes().begin(), a.codes().end(), b.codes().begin()));
  EXPECT_TRUE(same_bits(a.scales(), b.scales()));
  EXPECT_TRUE(same_bits(a.sums(), b.sums()));
  for (std::int64_t m = 0; m < a.rows(); ++m) {
    EXPECT_TRUE(std::ranges::equal(a.apart(m), b.apart(m), [](ApartElement i, ApartElement j) {
      return i.column == j.column && i.value == j.value;
    }));
  }
}

TEST(QuantizeRow, ErrorIsHalfAStepOfTheGroup) {
  Random random(28);
  for (const int planes : {1, 2}) {
    const double limit = planes == 2 ? 32512 : 127;
    for (const int group : {32, 64, 128}) {
      const std::int64_t cols = 7 * group;
      const std::vector<float> x = gaussians(random, cols);
      Activations a(1, cols, group, planes);
      a.quantize(*integer_tables()[0], x.data(), 1, cols);
      double worst = 0;
      for (std::int64_t g = 0; g < 7; ++g) {
        double largest = 0, sum = 0;
        for (std::int64_t k = g * group; k < (g + 1) * group; ++k) {
          largest = std::max(largest, std::abs(static_cast<double>(x[k])));
          sum += a.value(0, k);
          ASSERT_LE(std::abs(a.value(0, k)), limit);
        }
        for (std::int64_t k = g * group; k < (g + 1) * group; ++k) {
          const double error =
              std::abs(static_cast<double>(a.view.scales[g]) * a.value(0, k) - x[k]);
          worst = std::max(worst, error / (largest / limit));
        }
        EXPECT_EQ(a.view.sums[g], sum);
        EXPECT_NEAR(a.view.scales[g], largest / limit, largest / limit * 1e-7);
      }
      // Half a step, and what three roundings of float32 add to the largest value.
      EXPECT_LE(worst, 0.5 + limit * 3 * kUnitRoundoff);
      EXPECT_GE(worst, 0.45);
    }
  }
}

TEST(QuantizeRow, EveryTableGivesTheSameBits) {
  Random random(29);
  for (const int planes : {1, 2}) {
    for (const int group : {32, 64, 128}) {
      for (std::int64_t groups = 1; groups <= 9; ++groups) {
        const std::int64_t cols = groups * group;
        for (const double scale : {1.0, 1e-20, 1e30}) {
          std::vector<float> values = activations(random, 2, cols);
          for (float& v : values) v = static_cast<float>(v * scale);
          const Floats x = guarded(values);
          Activations expected(2, cols, group, planes);
          expected.quantize(*integer_tables()[0], x.data(), 2, cols);
          for (const KernelTable* table : integer_tables()) {
            SCOPED_TRACE(table->name);
            Activations got(2, cols, group, planes);
            got.quantize(*table, x.data(), 2, cols);
            expect_same_activations(got, expected);
          }
        }
      }
    }
  }
}

// One element of 100 among ones of 1: without it the step of its group is that of the others.
TEST(QuantizeRow, LargeElementsAreApart) {
  for (const int group : {32, 64, 128}) {
    const std::int64_t cols = 8 * group;
    std::vector<float> x(cols, 1.0f);
    x[3 * group + 5] = -100.0f;                                  // alone
    x[5 * group] = x[6 * group - 1] = 90.0f;                     // two of a group
    for (int i = 0; i <= kMostApart; ++i) x[group + i] = 80.0f;  // one too many
    // The mean of the groups is (100 + 90 + 80 + 5) / 8 = 34.4; none exceeds three times that.
    Activations none(1, cols, group, 2);
    none.quantize(*integer_tables()[0], x.data(), 1, cols);
    EXPECT_TRUE(none.apart(0).empty());
    std::vector<float> wide(x);
    wide.resize(4 * cols, 1.0f);  // mean 9.3, three times that 28
    for (const KernelTable* table : integer_tables()) {
      SCOPED_TRACE(table->name);
      Activations a(1, 4 * cols, group, 2);
      a.quantize(*table, wide.data(), 1, 4 * cols);
      ASSERT_EQ(a.apart(0).size(), 3u);
      EXPECT_EQ(a.apart(0)[0].column, 3 * group + 5);
      EXPECT_EQ(a.apart(0)[0].value, -100.0f);
      EXPECT_EQ(a.apart(0)[1].column, 5 * group);
      EXPECT_EQ(a.apart(0)[2].column, 6 * group - 1);
      EXPECT_EQ(a.value(0, 3 * group + 5), 0);
      EXPECT_EQ(a.value(0, 3 * group + 6), 32512);
      EXPECT_FLOAT_EQ(a.view.scales[1], 80.0f / 32512);
      EXPECT_FLOAT_EQ(a.view.scales[3], 1.0f / 32512);
      EXPECT_EQ(a.view.sums[3], static_cast<float>(32512 * (group - 1)));
      Activations fast(1, 4 * cols, group, 1);
      fast.quantize(*table, wide.data(), 1, 4 * cols);
      EXPECT_FLOAT_EQ(fast.view.scales[3], 100.0f / 127);
      // Where one element is infinite there is no mean.
      std::vector<float> infinite(wide);
      infinite[7 * group] = std::numeric_limits<float>::infinity();
      a.quantize(*table, infinite.data(), 1, 4 * cols);
      EXPECT_TRUE(a.apart(0).empty());
    }
  }
}

// No row has room for more than most_apart().
TEST(QuantizeRow, AsManyApartAsThereCanBe) {
  for (const std::int64_t groups : {5, 8, 9, 64, 65}) {
    std::vector<float> x(groups * 32, 0.0f);
    const auto large = static_cast<std::int64_t>((static_cast<float>(groups) - 1) / kApartRatio);
    for (std::int64_t g = 0; g < large; ++g) std::fill_n(&x[g * 32 + 5], kMostApart, -7.0f);
    for (const KernelTable* table : integer_tables()) {
      Activations a(1, groups * 32, 32, 2);
      a.quantize(*table, x.data(), 1, groups * 32);
      EXPECT_EQ(a.apart(0).size(), static_cast<std::size_t>(kMostApart * large)) << table->name;
      EXPECT_LE(kMostApart * large, most_apart(groups * 32, 32));
    }
  }
}

// The tests above would pass without a single element apart.
TEST(IntegerLinear, RowsOfTheseTestsHaveElementsApart) {
  Random random(32);
  int with = 0;
  for (int i = 0; i < 100; ++i) {
    Activations x(1, 640, 64, 2);
    x.quantize(*integer_tables()[0], activations(random, 1, 640).data(), 1, 640);
    if (!x.apart(0).empty()) ++with;
  }
  EXPECT_GT(with, 30);
}

// Halves of a step, zeros, groups too small to scale, and what is not a number.
TEST(QuantizeRow, OddValues) {
  const float inf = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  for (const int planes : {1, 2}) {
    std::vector<float> x(8 * 32, 0.0f);
    const float limit = planes == 2 ? 32512.0f : 127.0f;
    for (int i = 0; i < 32; ++i) x[i] = 0.5f * static_cast<float>(i - 16);
    x[0] = limit;                                    // group 0: d = 1, ties
    x[32] = -0.0f;                                   // group 1: zeros
    x[64 + 5] = 1e-31f;                              // group 2: under the smallest
    x[96 + 5] = 1e-30f;                              // group 3: the smallest that counts
    x[128 + 31] = -inf;                              // group 4
    x[160] = nan;                                    // group 5
    x[192 + 3] = std::numeric_limits<float>::max();  // group 6
    x[192 + 4] = 1.0f;
    x[224 + 9] = 1e-40f;  // group 7: subnormal
    Activations expected(1, 256, 32, planes);
    expected.quantize(*integer_tables()[0], x.data(), 1, 256);
    EXPECT_EQ(expected.view.scales[0], 1.0f);
    EXPECT_EQ(expected.value(0, 15), 0);   // -0.5
    EXPECT_EQ(expected.value(0, 17), 0);   // 0.5
    EXPECT_EQ(expected.value(0, 19), 2);   // 1.5
    EXPECT_EQ(expected.value(0, 13), -2);  // -1.5
    EXPECT_EQ(expected.value(0, 21), 2);   // 2.5
    for (const int g : {1, 2, 7}) EXPECT_EQ(expected.view.scales[g], 0.0f);
    EXPECT_GT(expected.view.scales[3], 0.0f);
    EXPECT_TRUE(std::isnan(expected.view.scales[4]) && std::isnan(expected.view.scales[5]));
    EXPECT_EQ(expected.value(0, 192 + 3), static_cast<int>(limit));
    for (const KernelTable* table : integer_tables()) {
      SCOPED_TRACE(table->name);
      Activations got(1, 256, 32, planes);
      got.quantize(*table, x.data(), 1, 256);
      expect_same_activations(got, expected);
    }
    Random random(30);
    const Matrix matrix = affine_matrix(random, 4, 32, ScaleKind::kBF16, 3, 256);
    for (const KernelTable* table : integer_tables()) {
      for (const float y : product(*table, expected.view, 0, 1, matrix.view, {0, 3})) {
        EXPECT_TRUE(std::isnan(y)) << table->name;
      }
    }
  }
}

}  // namespace
}  // namespace qx
