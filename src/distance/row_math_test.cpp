// SPDX-License-Identifier: Apache-2.0
#include "distance/row_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"

namespace qx {
namespace {

std::vector<float> logs(std::initializer_list<double> probabilities) {
  std::vector<float> row;
  for (const double p : probabilities) row.push_back(static_cast<float>(std::log(p)));
  return row;
}

TEST(RowMath, DivergenceByHand) {
  const RowPair pair = compare_rows(logs({0.5, 0.5}), logs({0.25, 0.75}));
  EXPECT_NEAR(pair.kl, 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3), 1e-7);
  EXPECT_NEAR(pair.base.log_sum, 0, 1e-7);
  EXPECT_EQ(pair.base.best, 0);  // the first of equal ones
  EXPECT_EQ(pair.variant.best, 1);
}

TEST(RowMath, AConstantChangesNothing) {
  const std::vector<float> a{1, 2, 3}, b{2, 2, 2}, shifted{1001, 1002, 1003};
  EXPECT_NEAR(compare_rows(a, b).kl, compare_rows(shifted, b).kl, 1e-12);
  EXPECT_EQ(compare_rows(a, a).kl, 0);
  EXPECT_NEAR(compare_rows(a, shifted).kl, 0, 1e-12);
  EXPECT_NEAR(sum_row(shifted).log_sum, 1000 + sum_row(a).log_sum, 1e-12);
}

TEST(RowMath, AgreesWithLongDouble) {
  Random random(3);
  std::vector<float> a(5000), b(5000);
  for (float& x : a) x = static_cast<float>(random.below(30000)) * 1e-3f;
  for (std::size_t i = 0; i < b.size(); ++i) {
    b[i] = a[i] + static_cast<float>(random.below(1000)) * 1e-3f;
  }
  long double sum_a = 0, sum_b = 0, kl = 0;
  for (const float x : a) sum_a += std::exp(static_cast<long double>(x));
  for (const float x : b) sum_b += std::exp(static_cast<long double>(x));
  for (std::size_t i = 0; i < a.size(); ++i) {
    const long double p = std::exp(static_cast<long double>(a[i])) / sum_a;
    const long double q = std::exp(static_cast<long double>(b[i])) / sum_b;
    kl += p * std::log(p / q);
  }
  // 5,000 sums in double, of numbers up to 30.
  EXPECT_NEAR(compare_rows(a, b).kl, static_cast<double>(kl), 1e-11);
}

TEST(RowMath, ValuesThatAreNotFiniteShow) {
  const std::vector<float> good{1, 2, 3};
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (std::size_t at = 0; at < 3; ++at) {
      std::vector<float> row = good;
      row[at] = bad;
      EXPECT_TRUE(std::isnan(sum_row(row).log_sum));
      const RowPair base = compare_rows(row, good), variant = compare_rows(good, row);
      EXPECT_TRUE(std::isnan(base.kl) && std::isnan(base.base.log_sum));
      EXPECT_TRUE(std::isnan(variant.kl) && std::isfinite(variant.base.log_sum));
    }
  }
}

TEST(RowMath, LargestFirstAndLowerIndexOfEqualOnes) {
  const std::vector<float> row{1, 5, 3, 5, 4};
  EXPECT_EQ(largest(row, 4), (std::vector<std::int32_t>{1, 3, 4, 2}));
  EXPECT_EQ(largest(row, 9).size(), 5u);
}

}  // namespace
}  // namespace qx
