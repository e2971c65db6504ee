// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include <gtest/gtest.h>

namespace qx {
namespace {

TEST(DType, NamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(DType::kC64); ++i) {
    const auto d = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(d)), d);
    EXPECT_GT(dtype_bytes(d), 0u);
  }
  EXPECT_EQ(dtype_from_name("F64"), std::nullopt);
}

TEST(Shape, CountRejectsOverflowAndNegatives) {
  EXPECT_EQ(element_count({}), 1);
  EXPECT_EQ(element_count({3, 4}), 12);
  EXPECT_EQ(element_count({INT64_MAX, 0}), 0);
  EXPECT_EQ(element_count({INT64_MAX, 2}), std::nullopt);
  EXPECT_EQ(element_count({-1, 2}), std::nullopt);
}

TEST(LoadFloats, UnalignedRoundTrip) {
  const std::vector<float> values = {0.0f, 1.0f, -2.5f, 65504.0f};
  for (DType d : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::vector<std::byte> bytes(1 + values.size() * 4);
    store_floats(d, std::span(values).first(3), bytes.data() + 1);
    std::vector<float> back(2);
    load_floats(d, bytes.data() + 1, 1, back);
    EXPECT_EQ(back[0], 1.0f);
    EXPECT_EQ(back[1], -2.5f);
  }
}

}  // namespace
}  // namespace qx
