// Perplexity and divergence with a model whose logits are a hash of all tokens before.
// SPDX-License-Identifier: Apache-2.0
#include "distance/divergence.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "distance/row_math.h"
#include "eval/fake_model.h"
#include "eval/test_tokenizer.h"

namespace qx {
namespace {

constexpr std::int64_t kVocab = 300;
const OnTokens kQuiet = [](std::int64_t) {};

MeasuredText make_text(const WindowRules& rules, bool bos = false) {
  MeasuredText text;
  text.request.file = "text.txt";
  text.request.rules = rules;
  for (int i = 0; i < 400; ++i) text.tokens.push_back(static_cast<TokenId>((i * 37 + i / 7) % 250));
  text.bos = 258;
  text.adds_bos = bos;
  text.windows = make_windows(rules, 400, bos, "text.txt");
  for (const Window& w : text.windows) text.counts.push_back(w.end - w.first_target);
  return text;
}

FakeModel make_model(std::uint64_t salt) {
  FakeModel model(kVocab);
  model.salt = salt;
  return model;
}

// The hash that the fake model has after the tokens of a window before the target.
std::uint64_t prefix_before(const MeasuredText& text, const Window& window, std::int64_t target) {
  int live = 0;
  FakeSegment segment(nullptr, 1000, &live);
  std::uint64_t h = 0;
  for (std::int64_t i = window.begin; i < target; ++i) {
    const bool first = window.bos && i == window.begin;
    h = segment.append(first ? text.bos : text.tokens[static_cast<std::size_t>(i)]);
  }
  return h;
}

std::vector<float> logits_before(const FakeModel& model, std::uint64_t prefix) {
  std::vector<float> row;
  for (TokenId v = 0; v < kVocab; ++v) row.push_back(model.logit(prefix, v));
  return row;
}

TEST(Perplexity, EveryTargetFromItsOwnWindow) {
  ThreadPool pool(2);
  for (const bool bos : {false, true}) {
    for (const WindowRules& rules : {WindowRules{WindowConvention::kLlamaCpp, 40},
                                     {WindowConvention::kLlamaCpp, 40, 10},
                                     {WindowConvention::kMlxLm, 33},
                                     {WindowConvention::kSliding, 50, 20}}) {
      const MeasuredText text = make_text(rules, bos);
      FakeModel model = make_model(1);
      std::vector<double> expected;
      for (const Window& w : text.windows) {
        for (std::int64_t t = w.first_target; t < w.end; ++t) {
          const std::vector<float> row = logits_before(model, prefix_before(text, w, t));
          const TokenId token = text.tokens[static_cast<std::size_t>(t)];
          expected.push_back(sum_row(row).log_sum -
                             static_cast<double>(row[static_cast<std::size_t>(token)]));
        }
      }
      for (const std::int64_t pass : {1, 17, 64, 1000}) {
        EXPECT_EQ(target_losses(model, text, pool, pass, kQuiet), expected) << pass;
        EXPECT_EQ(model.live_segments, 0);
      }
      std::int64_t reads = 0;
      target_losses(model, text, pool, 64, [&](std::int64_t n) { reads += n; });
      EXPECT_EQ(reads, count_reads(text.windows));
    }
  }
}

TEST(Perplexity, OfLossesByHand) {
  const std::vector<double> losses{1, 3};
  const std::vector<std::int64_t> counts{1, 1};
  const Perplexity p = perplexity_of(losses, counts);
  EXPECT_DOUBLE_EQ(p.ppl, std::exp(2.0));
  EXPECT_DOUBLE_EQ(p.stderr_tokens, std::exp(2.0));  // sqrt((5 - 4) / (2 - 1)) = 1
  EXPECT_DOUBLE_EQ(p.stderr_windows, std::exp(2.0));
}

TEST(Perplexity, BrokenLogitsNameTheToken) {
  ThreadPool pool(1);
  const MeasuredText text = make_text({WindowConvention::kMlxLm, 40});
  FakeModel model = make_model(1);
  model.broken_prefix = prefix_before(text, text.windows[2], 100);
  try {
    target_losses(model, text, pool, 64, kQuiet);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("[text.txt, token 100]"), std::string::npos) << e.what();
  }
}

class DivergenceTest : public testing::Test {
 protected:
  std::vector<Divergence> measure(const BaseStates* states, std::int64_t pass, int threads) {
    ThreadPool pool(threads);
    std::vector<Model*> models{&same_, &other_};
    const std::vector<std::string> names{"same", "other"};
    return measure_divergence(base_, states, models, names, text_, {pass, 4}, pool, kQuiet);
  }
  MeasuredText text_ = make_text({WindowConvention::kLlamaCpp, 40}, true);
  FakeModel base_ = make_model(1), same_ = make_model(1), other_ = make_model(2);
};

TEST_F(DivergenceTest, EveryTargetAgainstItsOwnRow) {
  const std::vector<Divergence> got = measure(nullptr, 100, 2);
  ASSERT_EQ(got.size(), 2u);
  std::size_t at = 0;
  double worst = 0;
  for (const Window& w : text_.windows) {
    for (std::int64_t t = w.first_target; t < w.end; ++t, ++at) {
      const std::uint64_t prefix = prefix_before(text_, w, t);
      const RowPair pair =
          compare_rows(logits_before(base_, prefix), logits_before(other_, prefix));
      EXPECT_EQ(got[1].kl[at], pair.kl);
      EXPECT_EQ(got[1].same_top[at], pair.base.best == pair.variant.best);
      EXPECT_EQ(got[0].loss[at], got[1].loss_base[at]);
      worst = std::max(worst, pair.kl);
    }
  }
  EXPECT_EQ(at, got[1].kl.size());
  EXPECT_EQ(got[0].kl, std::vector<double>(at, 0.0));
  EXPECT_EQ(got[0].same_top, std::vector<std::uint8_t>(at, 1));
  ASSERT_EQ(got[1].worst.size(), 4u);
  EXPECT_EQ(got[1].worst[0].kl, worst);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_LE(got[1].worst[i].kl, got[1].worst[i - 1].kl);
  const WorstPlace& place = got[1].worst[0];
  const Window& w = text_.windows[place.window];
  EXPECT_TRUE(place.target >= w.first_target && place.target < w.end);
  const auto row = logits_before(other_, prefix_before(text_, w, place.target));
  EXPECT_EQ(place.top[0].token, sum_row(row).best);
  ASSERT_EQ(place.top_base.size(), 5u);
  // Of equal divergences the earlier places.
  EXPECT_EQ(got[0].worst[0].target, text_.windows[0].first_target);
  EXPECT_EQ(got[0].worst[3].target, text_.windows[0].first_target + 3);
}

void expect_equal(const std::vector<Divergence>& a, const std::vector<Divergence>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t v = 0; v < a.size(); ++v) {
    EXPECT_EQ(a[v].kl, b[v].kl);
    EXPECT_EQ(a[v].loss, b[v].loss);
    EXPECT_EQ(a[v].loss_base, b[v].loss_base);
    EXPECT_EQ(a[v].same_top, b[v].same_top);
  }
}

TEST_F(DivergenceTest, KeptStatesPassesAndThreadsChangeNoBit) {
  const std::vector<Divergence> expected = measure(nullptr, 100, 1);
  expect_equal(measure(nullptr, 7, 2), expected);
  StatesWriter writer({}, Json::object(), text_.targets(), 3);
  store_base_states(base_, text_, 33, writer, kQuiet);
  const BaseStates states = writer.commit();
  const std::int64_t before = base_.passes;
  expect_equal(measure(&states, 64, 2), expected);
  EXPECT_EQ(base_.passes, before);
}

TEST_F(DivergenceTest, BrokenLogitsNameModelAndToken) {
  const auto message = [&]() -> std::string {
    try {
      measure(nullptr, 100, 1);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  other_.broken_prefix = prefix_before(text_, text_.windows[1], 70);
  EXPECT_NE(message().find("[text.txt, token 70] other gave"), std::string::npos) << message();
  base_.broken_prefix = other_.broken_prefix;
  EXPECT_NE(message().find("token 70] the base gave"), std::string::npos) << message();
}

TEST(DivergenceJson, ByHand) {
  MeasuredText text = make_text({WindowConvention::kMlxLm, 3, 0, 2});
  ASSERT_EQ(text.counts, (std::vector<std::int64_t>{2, 2}));
  Divergence d;
  d.kl = {0, 1, 2, 5};
  d.loss_base = {0, 0, 0, 0};
  d.loss = {std::log(2.0), 0, 0, 0};
  d.same_top = {1, 0, 1, 1};
  d.worst = {{4, 1, 5, 0, 0, {{'b', 0.5}}, {{'c', 0.25}}}};
  const Tokenizer tokenizer = make_test_tokenizer();
  const Json json = divergence_json(d, text, tokenizer);
  EXPECT_EQ(json["tokens"], 4);
  EXPECT_DOUBLE_EQ(json["kl_mean"].get<double>(), 2);
  EXPECT_DOUBLE_EQ(json["kl_stderr"].get<double>(), std::sqrt(14.0 / 4 / 3));
  EXPECT_DOUBLE_EQ(json["kl_stderr_windows"].get<double>(), std::sqrt(2.0 * 18) / 4);
  EXPECT_DOUBLE_EQ(json["kl_median"].get<double>(), 1.5);
  EXPECT_DOUBLE_EQ(json["kl_p95"].get<double>(), 2 + 3 * 0.85);
  EXPECT_DOUBLE_EQ(json["kl_max"].get<double>(), 5);
  EXPECT_DOUBLE_EQ(json["top1_agreement"].get<double>(), 0.75);
  EXPECT_DOUBLE_EQ(json["ppl_base"].get<double>(), 1);
  EXPECT_DOUBLE_EQ(json["ppl"].get<double>(), std::pow(2.0, 0.25));
  EXPECT_DOUBLE_EQ(json["ln_ppl_ratio"].get<double>(), std::log(2.0) / 4);
  EXPECT_DOUBLE_EQ(json["delta_p"].get<double>(), -0.125);
  EXPECT_DOUBLE_EQ(json["delta_p_rms"].get<double>(), 0.25);
  EXPECT_EQ(json["kl_percentiles"]["p99.9"].is_number(), true);
  const Json& place = json["worst"][0];
  EXPECT_EQ(place["token"], 4);
  EXPECT_EQ(place["context"].get<std::string>().size(), 1u);  // from the window's first token, 3
  EXPECT_EQ(place["top_base"][0]["text"], "b");
  EXPECT_EQ(place["top"][0]["p"], 0.25);
}

}  // namespace
}  // namespace qx
