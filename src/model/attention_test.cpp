// Attention against double precision, and against itself under other packings, cuts and threads.
// SPDX-License-Identifier: Apache-2.0
#include "model/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace qx {
namespace {

struct HeadShape {
  std::int64_t heads, kv_heads, dim;
};

// A sequence: its keys, values and queries at every position.
struct Sequence {
  std::vector<float> k, v, q;
};

std::vector<float> gaussians(Random& random, std::int64_t n) {
  std::vector<float> out(static_cast<std::size_t>(n));
  for (float& x : out) x = static_cast<float>(random.gaussian());
  return out;
}

Sequence sequence(const HeadShape& s, std::int64_t length, std::uint64_t seed) {
  Random random(seed);
  return {gaussians(random, length * s.kv_heads * s.dim),
          gaussians(random, length * s.kv_heads * s.dim),
          gaussians(random, length * s.heads * s.dim)};
}

// The first `shared` positions of a, and then those of b.
Sequence branch(const HeadShape& s, const Sequence& a, std::int64_t shared, const Sequence& b) {
  Sequence out = b;
  std::copy_n(a.k.begin(), shared * s.kv_heads * s.dim, out.k.begin());
  std::copy_n(a.v.begin(), shared * s.kv_heads * s.dim, out.v.begin());
  std::copy_n(a.q.begin(), shared * s.heads * s.dim, out.q.begin());
  return out;
}

void append(CpuSegment& segment, const HeadShape& s, const Sequence& from, std::int64_t end) {
  const std::int64_t first = segment.end(), width = s.kv_heads * s.dim;
  segment.extend(end - first);
  for (std::int64_t p = first; p < end; ++p) {
    for (std::int64_t h = 0; h < s.kv_heads; ++h) {
      segment.store(0, h, p - segment.begin(), from.k.data() + p * width + h * s.dim,
                    from.v.data() + p * width + h * s.dim);
    }
  }
}

// The sequence cut at the given places, the last of which is its length.
std::shared_ptr<CpuSegment> chain_of(const HeadShape& s, KvBits bits, const Sequence& from,
                                     std::vector<std::int64_t> cuts,
                                     std::shared_ptr<CpuSegment> segment = nullptr) {
  for (const std::int64_t end : cuts) {
    segment = std::make_shared<CpuSegment>(segment, KvShape{1, s.kv_heads, s.dim, bits}, 4000);
    append(*segment, s, from, end);
  }
  return segment;
}

struct Rows {
  CpuSegment* segment;
  const Sequence* sequence;
  std::vector<std::int64_t> positions;
};

// [all rows in order, heads * dim]
std::vector<float> attended(const HeadShape& s, const std::vector<Rows>& chunks, int threads) {
  const std::int64_t width = s.heads * s.dim;
  std::vector<KvChain> chains;
  std::vector<RowPlace> places;
  std::vector<float> q;
  for (const Rows& rows : chunks) {
    for (const std::int64_t p : rows.positions) {
      places.push_back({chains.size(), p});
      const float* from = rows.sequence->q.data() + p * width;
      q.insert(q.end(), from, from + width);
    }
    chains.emplace_back(rows.segment);
  }
  std::vector<float> out(q.size(), -1.0f);
  ThreadPool pool(threads);
  std::vector<AttentionScratch> scratch(static_cast<std::size_t>(threads));
  attend(pool, {0, s.heads, s.kv_heads, s.dim, chains, places, q.data(), out.data()}, scratch);
  return out;
}

std::vector<std::int64_t> range(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> out;
  for (; begin < end; ++begin) out.push_back(begin);
  return out;
}

std::vector<double> in_double(const HeadShape& s, const Sequence& from, std::int64_t position) {
  std::vector<double> out(static_cast<std::size_t>(s.heads * s.dim), 0.0);
  for (std::int64_t h = 0; h < s.heads; ++h) {
    const std::int64_t kv = h / (s.heads / s.kv_heads);
    const auto at = [&](const std::vector<float>& x, std::int64_t j, std::int64_t i) {
      return static_cast<double>(x[(j * s.kv_heads + kv) * s.dim + i]);
    };
    std::vector<double> p(static_cast<std::size_t>(position + 1));
    for (std::int64_t j = 0; j <= position; ++j) {
      for (std::int64_t i = 0; i < s.dim; ++i) {
        p[j] +=
            static_cast<double>(from.q[(position * s.heads + h) * s.dim + i]) * at(from.k, j, i);
      }
      p[j] /= std::sqrt(static_cast<double>(s.dim));
    }
    const double max = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& x : p) sum += x = std::exp(x - max);
    for (std::int64_t j = 0; j <= position; ++j) {
      for (std::int64_t i = 0; i < s.dim; ++i) out[h * s.dim + i] += p[j] / sum * at(from.v, j, i);
    }
  }
  return out;
}

constexpr HeadShape kShapes[] = {{4, 4, 16}, {6, 2, 10}, {9, 3, 64}, {14, 2, 34}, {80, 1, 8}};

TEST(Attention, AgreesWithDouble) {
  constexpr std::int64_t kLength = 150;
  for (const HeadShape& s : kShapes) {
    SCOPED_TRACE(s.heads);
    const Sequence from = sequence(s, kLength, 1);
    const auto segment = chain_of(s, KvBits::k32, from, {20, 37, kLength});
    const auto out = attended(s, {{segment.get(), &from, range(37, kLength)}}, 2);
    for (const std::int64_t p : {37, 38, 52, 100, 149}) {
      const std::vector<double> truth = in_double(s, from, p);
      for (std::size_t i = 0; i < truth.size(); ++i) {
        // Scores of a few units, rounded in a chain of `dim` operations; probabilities add to 1.
        EXPECT_NEAR(out[(p - 37) * truth.size() + i], truth[i], 1e-5) << p << ", " << i;
      }
    }
  }
}

// Fewer bits are near: off by what an element may be off, averaged over keys.
TEST(Attention, FewerBitsAreNear) {
  constexpr std::int64_t kLength = 150;
  struct Case {
    KvBits bits;
    double most;  // relative RMS
  };
  for (const Case& c : {Case{KvBits::k16, 1e-3}, {KvBits::k8, 2e-2}, {KvBits::k4, 0.2}}) {
    for (const HeadShape& s : kShapes) {
      SCOPED_TRACE(s.dim);
      const Sequence from = sequence(s, kLength, 1);
      const auto segment = chain_of(s, c.bits, from, {20, 37, kLength});
      const auto out = attended(s, {{segment.get(), &from, range(37, kLength)}}, 2);
      double error = 0, all = 0;
      for (const std::int64_t p : {37, 38, 52, 100, 149}) {
        const std::vector<double> truth = in_double(s, from, p);
        for (std::size_t i = 0; i < truth.size(); ++i) {
          const double off = static_cast<double>(out[(p - 37) * truth.size() + i]) - truth[i];
          error += off * off;
          all += truth[i] * truth[i];
        }
      }
      EXPECT_LT(std::sqrt(error / all), c.most);
      EXPECT_GT(error, 0);
    }
  }
}

TEST(Attention, CutsPackingsAndThreadsChangeNoBit) {
  constexpr std::int64_t kLength = 140;
  for (const KvBits bits : {KvBits::k32, KvBits::k16, KvBits::k8, KvBits::k4}) {
    for (const HeadShape& s : kShapes) {
      SCOPED_TRACE(s.heads);
      const std::int64_t width = s.heads * s.dim;
      const Sequence from = sequence(s, kLength, 2);
      const auto whole = chain_of(s, bits, from, {kLength});
      const auto expected = attended(s, {{whole.get(), &from, range(0, kLength)}}, 1);
      for (const auto& cuts : std::vector<std::vector<std::int64_t>>{
               {1, kLength}, {16, 33, kLength}, {63, 64, 65, kLength}, {139, kLength}}) {
        const auto last = chain_of(s, bits, from, cuts);
        const std::int64_t first = cuts[cuts.size() - 2];
        for (const int threads : {1, 3}) {
          const auto out = attended(s, {{last.get(), &from, range(first, kLength)}}, threads);
          ASSERT_TRUE(std::equal(out.begin(), out.end(), expected.begin() + first * width));
        }
      }
      // Row by row, and only some of them.
      for (const std::int64_t p : {0, 15, 16, 77, 139}) {
        const auto out = attended(s, {{whole.get(), &from, {p}}}, 1);
        ASSERT_TRUE(std::equal(out.begin(), out.end(), expected.begin() + p * width)) << p;
      }
    }
  }
}

// An evaluation's item: one context, continuations of it, beside another sequence; one of the
// continuations has a continuation of its own.
TEST(Attention, TreesChangeNoBit) {
  constexpr std::int64_t kShared = 45;
  const std::int64_t lengths[] = {50, 46, 60, 53};
  for (const KvBits bits : {KvBits::k32, KvBits::k16, KvBits::k8, KvBits::k4}) {
    for (const HeadShape& s : kShapes) {
      SCOPED_TRACE(s.heads);
      const Sequence stem = sequence(s, kShared, 3), other = sequence(s, 20, 4);
      const auto root = chain_of(s, bits, stem, {7, kShared});
      std::vector<Sequence> leaves;
      for (const std::int64_t length : lengths) {
        leaves.push_back(branch(s, stem, kShared, sequence(s, length, 5 + leaves.size())));
      }
      std::vector<std::shared_ptr<CpuSegment>> segments;
      const auto alone = chain_of(s, bits, other, {20});
      std::vector<Rows> chunks = {{root.get(), &stem, range(7, kShared)},
                                  {alone.get(), &other, range(3, 20)}};
      for (std::size_t i = 0; i < leaves.size(); ++i) {
        segments.push_back(chain_of(s, bits, leaves[i], {lengths[i]}, root));
        chunks.push_back({segments[i].get(), &leaves[i], range(kShared, lengths[i])});
      }
      const Sequence deeper = branch(s, leaves[0], lengths[0], sequence(s, 66, 20));
      segments.push_back(chain_of(s, bits, deeper, {66}, segments[0]));
      chunks.push_back({segments.back().get(), &deeper, {60, 65}});
      for (const int threads : {1, 2}) {
        const auto out = attended(s, chunks, threads);
        auto at = out.begin();
        for (const Rows& chunk : chunks) {
          const auto whole = chain_of(s, bits, *chunk.sequence, {chunk.segment->end()});
          for (const std::int64_t p : chunk.positions) {
            const auto row = attended(s, {{whole.get(), chunk.sequence, {p}}}, 1);
            ASSERT_TRUE(std::equal(row.begin(), row.end(), at)) << p;
            at += static_cast<std::ptrdiff_t>(row.size());
          }
        }
      }
    }
  }
}

// Scores of a block of rows stay within 4 MB a worker, however long the context.
TEST(Attention, LongContextsTakeFewerRowsAtATime) {
  const HeadShape s{4, 1, 4};
  constexpr std::int64_t kLength = 40'000;
  const Sequence from = sequence(s, kLength, 30);
  CpuSegment segment(nullptr, {1, 1, s.dim, KvBits::k32}, kLength);
  append(segment, s, from, kLength);
  const std::vector<KvChain> chains = {KvChain(&segment)};
  std::vector<RowPlace> places;
  for (const std::int64_t p : range(kLength - 16, kLength)) places.push_back({0, p});
  const float* q = from.q.data() + (kLength - 16) * s.heads * s.dim;
  std::vector<float> out(16 * s.heads * s.dim);
  ThreadPool pool(1);
  std::vector<AttentionScratch> scratch(1);
  attend(pool, {0, s.heads, s.kv_heads, s.dim, chains, places, q, out.data()}, scratch);
  EXPECT_LE(scratch[0].scores.capacity(), std::size_t{1} << 20);
  const std::vector<double> truth = in_double(s, from, kLength - 1);
  for (std::size_t i = 0; i < truth.size(); ++i) {
    EXPECT_NEAR(out[15 * truth.size() + i], truth[i], 1e-5);
  }
}

}  // namespace
}  // namespace qx
