// Scores must not depend on how requests are packed, shared, split or ordered.
// SPDX-License-Identifier: Apache-2.0
#include "eval/scorer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "eval/fake_model.h"

namespace qx {
namespace {

// The score as its definition says, token by token, nothing shared.
PairScore score_alone(const FakeModel& model, const EncodedPair& pair) {
  int live = 0;
  FakeSegment segment(nullptr, 1 << 20, &live);
  PairScore score{0, static_cast<std::int64_t>(pair.continuation.size()), true};
  for (const TokenId token : pair.context) segment.append(token);
  for (const TokenId token : pair.continuation) {
    score.ll += FakeModel::logprob(segment.last(), token);
    score.greedy = score.greedy && model.best(segment.last()) == token;
    segment.append(token);
  }
  return score;
}

std::vector<TokenId> random_tokens(Random& random, std::int64_t count, std::uint64_t alphabet) {
  std::vector<TokenId> tokens;
  for (std::int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<TokenId>(random.below(alphabet)));
  return tokens;
}

// Items of several choices; a small alphabet and a common beginning make shared prefixes frequent.
std::vector<ScoreRequest> random_requests(std::uint64_t seed) {
  Random random(seed);
  const std::vector<TokenId> opening = random_tokens(random, 12, 3);
  std::vector<ScoreRequest> requests;
  for (std::int64_t item = 0; item < 30; ++item) {
    std::vector<TokenId> context = random.below(2) == 0 ? opening : std::vector<TokenId>{};
    const auto more = random_tokens(
        random, 1 + static_cast<std::int64_t>(random.below(random.below(8) == 0 ? 300 : 20)), 3);
    context.insert(context.end(), more.begin(), more.end());
    const std::uint64_t choices = 1 + random.below(5);
    for (std::uint64_t c = 0; c < choices; ++c) {
      EncodedPair pair{context,
                       random_tokens(random, 1 + static_cast<std::int64_t>(random.below(6)), 2)};
      if (random.below(4) == 0) pair.context.push_back(1);  // a context of its own
      requests.push_back({pair, item});
      if (random.below(6) == 0) requests.push_back(requests[random.below(requests.size())]);
    }
  }
  return requests;
}

std::vector<PairScore> run(FakeModel& model, const std::vector<ScoreRequest>& requests,
                           const PassRules& rules) {
  std::vector<PairScore> scores(requests.size());
  std::vector<int> calls(requests.size());
  score_pairs(model, requests, rules, [&](std::size_t i, const PairScore& score) {
    scores[i] = score;
    ++calls[i];
  });
  for (const int n : calls) EXPECT_EQ(n, 1);
  EXPECT_EQ(model.live_segments, 0);
  return scores;
}

void expect_same(const std::vector<PairScore>& got, const FakeModel& model,
                 const std::vector<ScoreRequest>& requests) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const PairScore expected = score_alone(model, requests[i].pair);
    ASSERT_EQ(got[i].ll, expected.ll) << "request " << i;  // bit for bit
    ASSERT_EQ(got[i].tokens, expected.tokens);
    ASSERT_EQ(got[i].greedy, expected.greedy) << "request " << i;
  }
}

TEST(Scorer, AnyBudgetAndSharingGivesTheScoresOfLoneRequests) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    const std::vector<ScoreRequest> requests = random_requests(seed);
    for (const std::int64_t budget : {1, 2, 7, 40, 1024, 1 << 20}) {
      for (const std::int64_t min_shared : {1, 8, 1000}) {
        FakeModel model(3);
        const PassRules rules{budget, min_shared};
        expect_same(run(model, requests, rules), model, requests);
        EXPECT_LE(model.largest_pass, budget);
        EXPECT_EQ(model.forwarded_tokens, count_tokens(requests, rules).forward);
      }
    }
  }
}

TEST(Scorer, OrderOfRequestsDoesNotMatter) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    std::vector<ScoreRequest> requests = random_requests(seed);
    Random random(seed);
    for (std::size_t i = requests.size(); i > 1; --i)
      std::swap(requests[i - 1], requests[random.below(i)]);
    FakeModel model(3);
    expect_same(run(model, requests, {}), model, requests);
  }
}

TEST(Scorer, ChoicesShareTheirContext) {
  const std::vector<TokenId> context{1, 2, 3, 4, 5};
  const std::vector<ScoreRequest> requests = {{{context, {6, 7}}, 0},
                                              {{context, {6, 8, 9}}, 0},
                                              {{context, {10}}, 0},
                                              {{context, {6, 7}}, 0}};
  FakeModel model;
  run(model, requests, {});
  // 5 of the context, the common 6, then 8; the last token of a continuation is never read.
  EXPECT_EQ(model.forwarded_tokens, 7);
  EXPECT_EQ(model.passes, 1);
  // After the context: 6 and 10. After 6: 7 and 8. After 8: 9. The equal request costs nothing.
  EXPECT_EQ(model.scored_rows, 5);
  const TokenCounts counts = count_tokens(requests, {});
  EXPECT_EQ(counts.unshared, 6 + 7 + 5 + 6);
  EXPECT_EQ(counts.scored, 2 + 3 + 1 + 2);
  EXPECT_EQ(counts.forward, 7);
}

TEST(Scorer, DifferentItemsShareOnlyWhatIsWorthASplit) {
  std::vector<TokenId> a(20, 1), b(20, 1);
  a.push_back(2);
  b.push_back(3);
  const std::vector<ScoreRequest> long_common = {{{a, {4}}, 0}, {{b, {4}}, 1}};
  EXPECT_EQ(count_tokens(long_common, {}).forward, 22);
  const std::vector<ScoreRequest> short_common = {{{{1, 1, 2}, {4}}, 0}, {{{1, 1, 3}, {4}}, 1}};
  EXPECT_EQ(count_tokens(short_common, {}).forward, 6);
  EXPECT_EQ(count_tokens(short_common, {1024, 2}).forward, 4);
}

TEST(Scorer, SegmentsAreFreedAsTheirItemsAreDone) {
  std::vector<ScoreRequest> requests;
  Random random(3);
  for (std::int64_t item = 0; item < 200; ++item) {
    const std::vector<TokenId> context = random_tokens(random, 20, 50);
    for (int c = 0; c < 4; ++c) requests.push_back({{context, random_tokens(random, 4, 50)}, item});
  }
  FakeModel model;
  run(model, requests, {64, 8});
  EXPECT_LT(model.largest_live, 20);
}

TEST(Scorer, DroppedContextsScoreMinusInfinity) {
  EncodedPair dropped{{}, {1, 2}, 9, true};
  const std::vector<ScoreRequest> requests = {{dropped, 0}, {{{1}, {2}}, 0}};
  FakeModel model;
  const std::vector<PairScore> scores = run(model, requests, {});
  EXPECT_EQ(scores[0].ll, -std::numeric_limits<double>::infinity());
  EXPECT_FALSE(scores[0].greedy);
  EXPECT_EQ(scores[0].tokens, 2);
  EXPECT_EQ(scores[1].ll, score_alone(model, requests[1].pair).ll);
}

TEST(Scorer, NothingToDo) {
  FakeModel model;
  run(model, {}, {});
  EXPECT_EQ(model.passes, 0);
}

}  // namespace
}  // namespace qx
