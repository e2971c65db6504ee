// SPDX-License-Identifier: Apache-2.0
#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/random.h"

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

// As many tokens as a vocabulary has: the filters look at the largest first, the draw at blocks.
std::vector<float> many_logprobs(std::size_t count, double spread, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> x(count);
  for (float& v : x) v = static_cast<float>(spread * random.gaussian());
  for (std::size_t i = 7; i < count; i += 11) x[i] = kGone;  // as a constraint masks
  log_softmax(x, x);
  return x;
}

std::vector<float> by_size(std::vector<float> x) {
  std::sort(x.begin(), x.end(), std::greater<>());
  return x;
}

TEST(Sampler, FiltersOfAWholeVocabularyEqualThoseOfASortedOne) {
  std::vector<float> sorted;
  for (const double spread : {0.0, 0.1, 3.0, 12.0, 60.0}) {
    const auto x = many_logprobs(5003, spread, 11);
    const auto order = by_size(x);
    for (const double p : {0.01, 0.5, 0.9, 0.999}) {
      double above = 0;
      float threshold = order[0];
      for (std::size_t i = 0; i < order.size() && above < p; ++i) {
        threshold = order[i];
        above += std::exp(static_cast<double>(order[i]));
      }
      auto y = x;
      keep_top_p(y, p, sorted);
      for (std::size_t i = 0; i < x.size(); ++i) {
        // Values so near the border that the order of a sum decides are left out.
        if (std::abs(x[i] - threshold) < 1e-3f && x[i] != threshold) continue;
        ASSERT_EQ(y[i], x[i] < threshold ? kGone : x[i]) << spread << " " << p << " " << i;
      }
    }
    for (const std::int64_t k : {1, 20, 4000, 4600}) {
      auto y = x;
      keep_top_k(y, k, sorted);
      const auto left = by_size(y);
      for (std::size_t i = 0; i < left.size(); ++i) {
        ASSERT_EQ(left[i], static_cast<std::int64_t>(i) < k ? order[i] : kGone)
            << spread << " " << k;
      }
    }
  }
}

// The number that is drawn lies in the stretch of [0, 1) that the token has.
TEST(Sampler, ADrawOfAWholeVocabularyTakesTheTokenThatItsNumberNames) {
  constexpr std::size_t kCount = 5003;
  for (const double temperature : {1e-40, 0.5, 1.0, 2.0}) {
    const auto x = many_logprobs(kCount, 2.0, 12);
    const double max = *std::max_element(x.begin(), x.end());
    std::vector<double> begins(kCount + 1, 0.0);
    for (std::size_t i = 0; i < kCount; ++i) {
      begins[i + 1] = begins[i] + std::exp((x[i] - max) / temperature);
    }
    Sampler sampler({.temperature = temperature, .seed = 5});
    Random same(5);
    for (int i = 0; i < 500; ++i) {
      const auto got = static_cast<std::size_t>(sampler.sample(x));
      const double number = same.uniform() * begins[kCount];
      ASSERT_NE(x[got], kGone);
      ASSERT_GT(number, begins[got] - 1e-5 * begins[kCount]) << temperature;
      ASSERT_LT(number, begins[got + 1] + 1e-5 * begins[kCount]) << temperature;
    }
  }
}

TEST(Sampler, ZeroTemperatureTakesTheFirstMaximum) {
  Sampler sampler({.temperature = 0, .top_k = 1});
  EXPECT_EQ(sampler.sample(log_of({0.2, 0.4, 0.4})), 1);
}

TEST(Sampler, XtcLeavesTheLeastOfThoseAboveTheThreshold) {
  const auto run = [&](double threshold, std::vector<TokenId> special) {
    auto x = log_of({0.1, 0.4, 0.2, 0.3});
    exclude_top_choices(x, threshold, special);
    return kept(x);
  };
  EXPECT_EQ(run(0.05, {}), "0");
  EXPECT_EQ(run(0.15, {}), "02");
  EXPECT_EQ(run(0.25, {}), "023");
  EXPECT_EQ(run(0.35, {}), "0123");  // one alone is above: it stays
  EXPECT_EQ(run(0.5, {}), "0123");
  EXPECT_EQ(run(0.05, {1}), "01");
  EXPECT_EQ(run(0.05, {3, 3}), "03");
  // Ties of the least stay together, and its threshold is of what the filters before it left.
  auto tied = log_of({0.3, 0.2, 0.2, 0.3});
  exclude_top_choices(tied, 0.1, {});
  EXPECT_EQ(kept(tied), "12");
  auto filtered = log_of({0.1, 0.4, 0.2, 0.3});
  keep_min_p(filtered, 0.6);  // 0.4 and 0.3 are left: 0.57 and 0.43
  exclude_top_choices(filtered, 0.42, {});
  EXPECT_EQ(kept(filtered), "3");
}

TEST(Sampler, PenaltiesAndBias) {
  const std::vector<TokenId> history = {5, 1, 0, 1, 2};
  const auto run = [&](SamplerOptions options) {
    std::vector<float> logits = {2, -2, 0, 1, 1, 1};
    Sampler(std::move(options)).process(logits, history);
    return logits;
  };
  using Logits = std::vector<float>;
  EXPECT_EQ(run({}), (Logits{2, -2, 0, 1, 1, 1}));
  EXPECT_EQ(run({.logit_bias = {{3, -1.5}, {0, 0.25}}}), (Logits{2.25f, -2, 0, -0.5f, 1, 1}));
  // Each token once, towards less probable on both sides of 0.
  EXPECT_EQ(run({.repetition_penalty = 2}), (Logits{1, -4, 0, 1, 1, 0.5f}));
  EXPECT_EQ(run({.repetition_penalty = 2, .repetition_context_size = 3}),
            (Logits{1, -4, 0, 1, 1, 1}));
  EXPECT_EQ(run({.repetition_penalty = 2, .repetition_context_size = 1}),
            (Logits{2, -2, 0, 1, 1, 1}));
  EXPECT_EQ(run({.repetition_penalty = 2, .repetition_context_size = 0}),
            (Logits{1, -4, 0, 1, 1, 0.5f}));
  EXPECT_EQ(run({.presence_penalty = 1}), (Logits{1, -3, -1, 1, 1, 0}));
  EXPECT_EQ(run({.presence_penalty = 1, .presence_context_size = 2}), (Logits{2, -3, -1, 1, 1, 1}));
  EXPECT_EQ(run({.frequency_penalty = 1}), (Logits{1, -4, -1, 1, 1, 0}));
  EXPECT_EQ(run({.frequency_penalty = -0.5, .frequency_context_size = 4}),
            (Logits{2.5f, -1, 0.5f, 1, 1, 1}));
  // The bias comes first, then the penalties, repetition's first: (1 + 1) / 2 - 0.5 - 0.25.
  EXPECT_EQ(run({.logit_bias = {{5, 1.0}},
                 .repetition_penalty = 2,
                 .presence_penalty = 0.5,
                 .frequency_penalty = 0.25})[5],
            0.25f);
  EXPECT_FALSE(SamplerOptions{}.changes_logits());
}

TEST(Sampler, WhateverIsAskedLogitsStayFinite) {
  constexpr float kMost = std::numeric_limits<float>::max();
  const std::vector<TokenId> history = {0, 1, 0, 1, 0};
  const std::vector<SamplerOptions> extremes = {{.logit_bias = {{0, 1e6}, {1, 1e6}}},
                                                {.logit_bias = {{0, -1e6}, {1, -1e6}}},
                                                {.repetition_penalty = kLeastRepetitionPenalty},
                                                {.repetition_penalty = 1e6},
                                                {.presence_penalty = 1e6},
                                                {.presence_penalty = -1e6},
                                                {.frequency_penalty = 1e6},
                                                {.frequency_penalty = -1e6}};
  for (SamplerOptions options : extremes) {
    for (const double temperature : {5e-324, 1.0, 1e6}) {
      options.temperature = temperature;
      options.top_p = 0.9;
      options.min_p = 5e-324;
      options.top_k = 2;
      check_sampler_options(options, 4);
      Sampler sampler(options);
      std::vector<float> logits = {kMost, kMost, -kMost, kGone};
      sampler.process(logits, history);
      for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(std::isfinite(logits[i])) << i;
      EXPECT_EQ(logits[3], kGone);
      EXPECT_LT(sampler.choose(logits, history), 3);
      for (const float v : logits) EXPECT_FALSE(std::isnan(v));
    }
  }
}

TEST(Sampler, FiltersEndForAnyValues) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float nan = std::nanf("");
  const std::vector<std::vector<float>> lists = {{nan, nan, nan, nan},
                                                 {0, nan, nan, -1},
                                                 {kInfinity, kInfinity, 0, 1},
                                                 {kInfinity, nan, kGone, 1},
                                                 {kGone, kGone, kGone, kGone}};
  std::vector<float> sorted;
  for (const std::vector<float>& list : lists) {
    for (const double p : {1e-9, 0.5, 1 - 1e-9}) {
      auto x = list;
      keep_top_p(x, p, sorted);
      EXPECT_EQ(x.size(), 4u);
    }
    for (const int k : {1, 2, 3}) {
      auto x = list;
      keep_top_k(x, k, sorted);
      EXPECT_EQ(x.size(), 4u);
    }
  }
}

TEST(Sampler, ChooseLeavesTheLogprobsThatItChoseFrom) {
  Sampler sampler({.temperature = 0, .presence_penalty = 3});
  std::vector<float> logits = {1, 2, kGone};
  const std::vector<TokenId> history = {1};
  EXPECT_EQ(sampler.choose(logits, history), 0);
  const double sum = std::exp(1.0) + std::exp(-1.0);
  EXPECT_NEAR(logits[0], 1 - std::log(sum), 1e-6);
  EXPECT_NEAR(logits[1], -1 - std::log(sum), 1e-6);
  EXPECT_EQ(logits[2], kGone);
}

TEST(Sampler, WhatAConstraintMasksIsNeverChosen) {
  Sampler sampler({.temperature = 5,
                   .top_p = 0.99,
                   .min_p = 0.001,
                   .top_k = 40,
                   .xtc_probability = 0.5,
                   .logit_bias = {{7, 100.0}},
                   .repetition_penalty = 1.3,
                   .frequency_penalty = -1});
  Random random(2);
  std::vector<TokenId> history = {7};
  for (int i = 0; i < 300; ++i) {
    std::vector<float> logits(50);
    for (float& v : logits) v = static_cast<float>(4 * random.gaussian());
    for (std::size_t id = 0; id < 50; ++id) {
      if (id % 7 == 0 || id < i % 50u) logits[id] = kGone;
    }
    if (logits[49] == kGone) logits[48] = 1;
    const std::vector<float> masked = logits;
    const TokenId id = sampler.choose(logits, history);
    ASSERT_NE(masked[static_cast<std::size_t>(id)], kGone) << i;
    history.push_back(id);
  }
}

TEST(Sampler, OptionsOutOfRangeAreNamed) {
  const auto message = [](SamplerOptions options) -> std::string {
    try {
      check_sampler_options(options, 100);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.temperature = 1, .top_k = 99, .logit_bias = {{99, -100.0}, {0, 1.0}}}), "");
  const double nan = std::nan("");
  const std::vector<std::pair<SamplerOptions, std::string>> wrong = {
      {{.temperature = -1}, "[temperature] got -1"},
      {{.temperature = nan}, "[temperature] got nan"},
      {{.top_p = 1.5}, "[top_p] got 1.5"},
      {{.min_p = -0.1}, "[min_p] got -0.1"},
      {{.top_k = 100}, "[top_k] got 100"},
      {{.top_k = -1}, "[top_k] got -1"},
      {{.xtc_probability = 2}, "[xtc_probability]"},
      {{.xtc_threshold = 0.6}, "[xtc_threshold] got 0.6, expected a number from 0 to 0.5"},
      {{.xtc_special_tokens = {100}}, "[xtc_special_tokens] got token 100"},
      {{.logit_bias = {{100, 1.0}}}, "[logit_bias] got token 100"},
      {{.logit_bias = {{-1, 1.0}}}, "[logit_bias] got token -1"},
      {{.logit_bias = {{1, nan}}}, "[logit_bias] got nan"},
      {{.logit_bias = {{1, 1.0}, {1, 1.0}}}, "[logit_bias] got token 1 twice"},
      {{.repetition_penalty = -1}, "[repetition_penalty]"},
      {{.repetition_penalty = nan}, "[repetition_penalty]"},
      {{.repetition_penalty = 1e-40},
       "[repetition_penalty] got 1e-40, expected a number from 0.001"},
      {{.presence_penalty = nan}, "[presence_penalty]"},
      {{.frequency_penalty = 1e9}, "[frequency_penalty]"},
      {{.repetition_context_size = -1}, "[repetition_context_size] got -1"},
      {{.presence_context_size = -1}, "[presence_context_size]"},
      {{.frequency_context_size = -1}, "[frequency_context_size]"}};
  for (const auto& [options, expected] : wrong) {
    EXPECT_TRUE(message(options).starts_with(expected)) << expected << " / " << message(options);
  }
}

// --- draws against exact probabilities -----------------------------------------------------------

using Distribution = std::vector<double>;

Distribution normalized(Distribution p) {
  double total = 0;
  for (const double v : p) total += v;
  for (double& v : p) v /= total;
  return p;
}

// The filters by their definitions, on probabilities in double and with a full sort. No two are equal.
Distribution exact_filtered(Distribution p, const SamplerOptions& o, bool xtc) {
  const auto order = [&] {  // falling
    std::vector<std::size_t> ids(p.size());
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = i;
    std::sort(ids.begin(), ids.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
    return ids;
  };
  if (o.top_p > 0 && o.top_p < 1) {
    double above = 0;
    for (const std::size_t i : order()) {
      const double own = p[i];
      if (above >= o.top_p) p[i] = 0;
      above += own;
    }
  }
  const double best = *std::max_element(p.begin(), p.end());
  for (double& v : p) v = v < o.min_p * best ? 0 : v;
  if (xtc) {
    const Distribution now = normalized(p);
    std::vector<std::size_t> above;
    for (const std::size_t i : order()) {
      if (now[i] > o.xtc_threshold) above.push_back(i);
    }
    for (std::size_t n = 0; n + 1 < above.size(); ++n) {
      const auto id = static_cast<TokenId>(above[n]);
      if (std::count(o.xtc_special_tokens.begin(), o.xtc_special_tokens.end(), id) == 0) {
        p[above[n]] = 0;
      }
    }
  }
  if (o.top_k > 0) {
    const auto ids = order();
    for (std::size_t n = static_cast<std::size_t>(o.top_k); n < ids.size(); ++n) p[ids[n]] = 0;
  }
  for (double& v : p) v = v == 0 ? 0 : std::pow(v, 1 / o.temperature);
  return normalized(p);
}

Distribution exact(const Distribution& p, const SamplerOptions& o) {
  const Distribution plain = exact_filtered(p, o, false), xtc = exact_filtered(p, o, true);
  Distribution out(p.size());
  for (std::size_t i = 0; i < p.size(); ++i) {
    out[i] = (1 - o.xtc_probability) * plain[i] + o.xtc_probability * xtc[i];
  }
  return out;
}

// Pearson's statistic of `draws` draws, with its degrees of freedom; -1 when a token of probability 0
// was drawn.
std::pair<double, int> chi_square(const SamplerOptions& o, const Distribution& p, int draws) {
  std::vector<float> logprobs = log_of(p);
  const Distribution expected = exact(p, o);
  Sampler sampler(o);
  std::vector<int> seen(p.size());
  for (int i = 0; i < draws; ++i) ++seen[static_cast<std::size_t>(sampler.sample(logprobs))];
  double statistic = 0;
  int cells = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (expected[i] == 0) {
      if (seen[i] > 0) return {-1, 0};
      continue;
    }
    const double mean = expected[i] * draws;
    statistic += (seen[i] - mean) * (seen[i] - mean) / mean;
    ++cells;
  }
  return {statistic, cells - 1};
}

TEST(Sampler, DrawsHaveTheExactProbabilities) {
  const std::vector<SamplerOptions> cases = {
      {.temperature = 1},
      {.temperature = 0.5},
      {.temperature = 2.5},
      {.temperature = 1, .top_p = 0.7},
      {.temperature = 0.5, .top_p = 0.7},  // the filter sees untempered probabilities
      {.temperature = 1.5, .min_p = 0.3},
      {.temperature = 1, .top_k = 3},
      {.temperature = 1, .xtc_probability = 1, .xtc_threshold = 0.15},
      {.temperature = 1, .xtc_probability = 0.3, .xtc_threshold = 0.15},
      {.temperature = 1, .xtc_probability = 0.5, .xtc_threshold = 0.12, .xtc_special_tokens = {1}},
      {.temperature = 1.3, .top_p = 0.9, .min_p = 0.2, .top_k = 3, .xtc_probability = 0.4},
      {.temperature = 0.8, .top_p = 0.95, .top_k = 4, .xtc_probability = 0.6, .xtc_threshold = 0.2},
  };
  const Distribution p = {0.09, 0.31, 0.04, 0.17, 0.25, 0.14};
  for (std::size_t n = 0; n < cases.size(); ++n) {
    SamplerOptions o = cases[n];
    for (const std::uint64_t seed : {1, 2, 3}) {
      o.seed = seed;
      const auto [statistic, freedom] = chi_square(o, p, 40000);
      EXPECT_GE(statistic, 0) << "case " << n << ": a dropped token was drawn";
      // At most 5 degrees of freedom: 37 is passed with probability 6e-7.
      EXPECT_LT(statistic, 37) << "case " << n << ", " << freedom << " degrees of freedom";
    }
  }
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
