// SPDX-License-Identifier: Apache-2.0
#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace qx {
namespace {

constexpr float kGone = -std::numeric_limits<float>::infinity();

std::vector<float> log_of(std::vector<double> probabilities) {
  std::vector<float> out;
  for (const double p : probabilities) out.push_back(static_cast<float>(std::log(p)));
  return out;
}

// Which tokens are left, as a string of digits.
std::string kept(const std::vector<float>& logprobs) {
  std::string out;
  for (std::size_t i = 0; i < logprobs.size(); ++i) {
    if (logprobs[i] != kGone) out += static_cast<char>('0' + i);
  }
  return out;
}

TEST(Sampler, LogSoftmax) {
  std::vector<float> x = {0.0f, std::log(2.0f), std::log(5.0f)};
  log_softmax(x, x);
  EXPECT_NEAR(x[0], std::log(1.0 / 8), 1e-6);
  EXPECT_NEAR(x[2], std::log(5.0 / 8), 1e-6);
}

TEST(Sampler, TopPKeepsTokensWhileThoseAboveHoldLess) {
  std::vector<float> sorted;
  const auto run = [&](double p) {
    auto x = log_of({0.1, 0.4, 0.2, 0.3});
    keep_top_p(x, p, sorted);
    return kept(x);
  };
  EXPECT_EQ(run(0.05), "1");
  EXPECT_EQ(run(0.39), "1");
  EXPECT_EQ(run(0.45), "13");
  EXPECT_EQ(run(0.75), "123");
  EXPECT_EQ(run(0.95), "0123");
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  const auto run = [&](double p) {
    auto x = log_of({0.1, 0.4, 0.2, 0.3});
    keep_min_p(x, p);
    return kept(x);
  };
  EXPECT_EQ(run(0.2), "0123");
  EXPECT_EQ(run(0.3), "123");
  EXPECT_EQ(run(0.6), "13");
  EXPECT_EQ(run(1.0), "1");
}

TEST(Sampler, TopKKeepsExactlyKAndTheLowerIndexOfTies) {
  std::vector<float> sorted;
  const auto run = [&](std::int64_t k) {
    auto x = log_of({0.2, 0.3, 0.2, 0.2, 0.1});
    keep_top_k(x, k, sorted);
    return kept(x);
  };
  EXPECT_EQ(run(1), "1");
  EXPECT_EQ(run(2), "01");
  EXPECT_EQ(run(3), "012");
  EXPECT_EQ(run(4), "0123");
  EXPECT_EQ(run(5), "01234");
  EXPECT_EQ(run(9), "01234");
}

TEST(Sampler, ZeroTemperatureTakesTheFirstMaximum) {
  Sampler sampler({.temperature = 0, .top_k = 1});
  EXPECT_EQ(sampler.sample(log_of({0.2, 0.4, 0.4})), 1);
}

// Shares of 20,000 draws; the standard error of a share is at most 0.0036.
std::vector<double> shares(const SamplerOptions& options, const std::vector<float>& logprobs) {
  Sampler sampler(options);
  std::vector<double> out(logprobs.size());
  for (int i = 0; i < 20000; ++i) {
    out[static_cast<std::size_t>(sampler.sample(logprobs))] += 1.0 / 20000;
  }
  return out;
}

TEST(Sampler, DrawsByProbability) {
  const auto p = log_of({0.1, 0.6, 0.3});
  const auto plain = shares({.temperature = 1, .seed = 3}, p);
  EXPECT_NEAR(plain[0], 0.1, 0.02);
  EXPECT_NEAR(plain[1], 0.6, 0.02);
  // Temperature 0.5 squares the probabilities: 1, 36, 9 of 46.
  const auto cold = shares({.temperature = 0.5, .seed = 3}, p);
  EXPECT_NEAR(cold[0], 1.0 / 46, 0.02);
  EXPECT_NEAR(cold[1], 36.0 / 46, 0.02);
  // The filter sees untempered probabilities: at temperature 0.5 it would keep token 1 alone.
  const auto filtered = shares({.temperature = 0.5, .top_p = 0.7, .seed = 3}, p);
  EXPECT_EQ(filtered[0], 0);
  EXPECT_NEAR(filtered[2], 9.0 / 45, 0.02);
}

TEST(Sampler, ASeedGivesTheSameDraws) {
  const auto p = log_of({0.25, 0.25, 0.25, 0.25});
  const auto draw = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::string out;
    for (int i = 0; i < 50; ++i) out += static_cast<char>('0' + sampler.sample(p));
    return out;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

}  // namespace
}  // namespace qx
