// The expected numbers are those of transformers' LlamaRotaryEmbedding (torch, float32) for the
// same settings, head_dim 32.
// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace qx {
namespace {

using Frequencies = std::array<float, 16>;

// torch's own power is not rounded correctly, so that single values differ by one step.
void expect_close(const std::vector<float>& got, const Frequencies& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], expected[i], expected[i] * 0x1p-23f) << i;
  }
}

TEST(Rope, DefaultFrequencies) {
  RopeConfig config;
  expect_close(
      rope_inverse_frequencies(config, 32),
      {0x1p+0f, 0x1.1feb34p-1f, 0x1.43d136p-2f, 0x1.6c310ep-3f, 0x1.99999ap-4f, 0x1.ccab84p-5f,
       0x1.030dc6p-5f, 0x1.235a72p-6f, 0x1.47ae14p-7f, 0x1.708938p-8f, 0x1.9e7c7p-9f,
       0x1.d22a5p-10f, 0x1.0624dep-10f, 0x1.26d42cp-11f, 0x1.4b96cp-12f, 0x1.74eea6p-13f});
}

TEST(Rope, LinearDividesEveryFrequency) {
  RopeConfig config;
  const auto plain = rope_inverse_frequencies(config, 32);
  config.type = RopeConfig::Type::kLinear;
  config.factor = 4;
  const auto scaled = rope_inverse_frequencies(config, 32);
  for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(scaled[i], plain[i] / 4);
}

TEST(Rope, Llama3Frequencies) {
  RopeConfig config;
  config.type = RopeConfig::Type::kLlama3;
  config.theta = 500000;
  config.factor = 32;
  config.low_freq_factor = 1;
  config.high_freq_factor = 4;
  config.original_max_position_embeddings = 8192;
  expect_close(
      rope_inverse_frequencies(config, 32),
      {0x1p+0f, 0x1.c2ef78p-2f, 0x1.8d276p-3f, 0x1.5dc95ap-4f, 0x1.341190p-5f, 0x1.0f5386p-6f,
       0x1.ddee9ep-8f, 0x1.a4ee4p-9f, 0x1.c26c4p-12f, 0x1.46831ap-16f, 0x1.1f91fp-17f,
       0x1.fa8b86p-19f, 0x1.be2188p-20f, 0x1.88ec2p-21f, 0x1.5a0f4ep-22f, 0x1.30c94ep-23f});
}

TEST(Rope, AnglesAreFloat32Products) {
  RopeTable table(RopeConfig{}, 32);
  table.reserve(1001);
  // Rounding the angle to float32 matters here: in double the cosine differs in the fifth digit.
  const float expected_cosine[] = {0x1.1ff026p-1f, -0x1.ffff10p-1f, -0x1.e8db00p-2f,
                                   -0x1.49d716p-2f};
  const float expected_sine[] = {0x1.a75cc2p-1f, 0x1.eefa9ep-9f, 0x1.c1e34ap-1f, 0x1.e4b62ep-1f};
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(table.cosine(1000)[i], expected_cosine[i], 1e-7f) << i;
    EXPECT_NEAR(table.sine(1000)[i], expected_sine[i], 1e-7f) << i;
  }
}

TEST(Rope, GrowingKeepsWhatWasThere) {
  RopeTable grown(RopeConfig{}, 16), whole(RopeConfig{}, 16);
  whole.reserve(100);
  for (const std::int64_t n : {1, 2, 5, 40, 100}) grown.reserve(n);
  for (std::int64_t p = 0; p < 100; ++p) {
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(grown.cosine(p)[i], whole.cosine(p)[i]);
      EXPECT_EQ(grown.sine(p)[i], whole.sine(p)[i]);
    }
  }
}

}  // namespace
}  // namespace qx
