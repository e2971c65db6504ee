// SPDX-License-Identifier: Apache-2.0
#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace qx {
namespace {

TEST(Half, EveryBf16SurvivesTheRoundTrip) {
  for (std::uint32_t u = 0; u <= 0xFFFF; ++u) {
    const auto h = static_cast<std::uint16_t>(u);
    const float f = bf16_to_f32(h);
    EXPECT_EQ(f32_to_bf16(f), std::isnan(f) ? 0x7FC0 : h);
  }
}

TEST(Half, EveryF16SurvivesTheRoundTrip) {
  for (std::uint32_t u = 0; u <= 0xFFFF; ++u) {
    const auto h = static_cast<std::uint16_t>(u);
    const float f = f16_to_f32(h);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(f))));
    } else {
      EXPECT_EQ(f32_to_f16(f), h);
    }
  }
}

// The nearest of the two neighbouring f16 values, the even one on a tie, found without bit tricks.
TEST(Half, F16RoundsToNearestEven) {
  for (std::uint32_t u = 0; u < 0x7BFF; ++u) {
    const float low = f16_to_f32(static_cast<std::uint16_t>(u));
    const float high = f16_to_f32(static_cast<std::uint16_t>(u + 1));
    const float middle = low + (high - low) / 2;
    const auto even = static_cast<std::uint16_t>(u % 2 == 0 ? u : u + 1);
    EXPECT_EQ(f32_to_f16(middle), even);
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, low)), u);
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, high)), u + 1);
    EXPECT_EQ(f32_to_f16(-middle), even | 0x8000);
  }
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7BFF);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7C00);
}

TEST(Half, Bf16RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808000u)), 0x3F80);  // tie, even stays
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F818000u)), 0x3F82);  // tie, odd goes up
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808001u)), 0x3F81);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(f32_to_bf16(-std::numeric_limits<float>::quiet_NaN()), 0x7FC0);
}

}  // namespace
}  // namespace qx
