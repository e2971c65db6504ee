// SPDX-License-Identifier: Apache-2.0
#include "model/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kernels/api.h"

namespace qx {
namespace {

// Below this many multiply-adds, waking other threads costs more than it saves.
constexpr std::int64_t kInlineAttention = std::int64_t{1} << 15;
// Scores of a block of rows: 4 MB, a share of a usual last-level cache.
constexpr std::int64_t kScoreFloats = std::int64_t{1} << 20;
// More queries than this reuse nothing better; fewer than the second lose speed.
constexpr std::int64_t kMostQueries = 64, kFewestQueries = 12;
// Positions decoded at a time when keys and values have fewer bits: 32 KB for a head of 128.
constexpr std::int64_t kDecodeTile = 64;

// Rows [begin, end) of one chunk, or of several whose segments have one parent.
struct RowBlock {
  std::int64_t begin, end;
};

class Attention {
 public:
  explicit Attention(const AttentionJob& job)
      : job_(job), kernels_(kernels()), group_(job.heads / job.kv_heads) {
    for (const RowPlace& row : job.rows) longest_ = std::max(longest_, row.position + 1);
    // Not a multiple of 4 KB, so that rows do not compete for the same places of the cache.
    stride_ = (longest_ + 15) / 16 * 16 + 16;
  }

  std::vector<RowBlock> blocks(int threads) const;
  std::int64_t work() const {
    return 2 * longest_ * job_.head_dim * job_.heads * static_cast<std::int64_t>(job_.rows.size());
  }
  void run(const RowBlock& block, std::int64_t kv_head, AttentionScratch& scratch) const;

 private:
  const RowPlace& row(std::int64_t m) const { return job_.rows[static_cast<std::size_t>(m)]; }
  const KvChain& chain(std::int64_t m) const { return job_.chains[row(m).chunk]; }
  bool together(std::int64_t a, std::int64_t b) const {
    if (row(a).chunk == row(b).chunk) return true;
    const CpuSegment* parent = chain(a).own->parent();
    return parent != nullptr && parent == chain(b).own->parent();
  }
  float* head_row(float* base, std::int64_t m, std::int64_t kv_head) const {
    return base + (m * job_.heads + kv_head * group_) * job_.head_dim;
  }
  template <class Body>
  void for_each_segment(const RowBlock& block, AttentionScratch& scratch, const Body& body) const;
  template <class Body>
  void for_each_tile(const CpuSegment& segment, std::int64_t first, std::int64_t n,
                     AttentionScratch& scratch, const Body& body) const;

  const AttentionJob& job_;
  const KernelTable& kernels_;
  std::int64_t group_, longest_ = 0, stride_ = 0;
};

std::vector<RowBlock> Attention::blocks(int threads) const {
  const auto count = static_cast<std::int64_t>(job_.rows.size());
  const std::int64_t queries = std::min(kMostQueries, kScoreFloats / stride_);
  // Small enough that every thread gets several pieces, but not smaller than the kernels like.
  const std::int64_t wanted = (4 * threads + job_.kv_heads - 1) / job_.kv_heads;
  const std::int64_t shared = std::max(kFewestQueries / group_, (count + wanted - 1) / wanted);
  const std::int64_t most = std::max<std::int64_t>(1, std::min(queries / group_, shared));
  std::vector<RowBlock> out;
  for (std::int64_t m = 0; m < count; ++m) {
    const bool joins = !out.empty() && m - out.back().begin < most && together(out.back().begin, m);
    if (!joins) out.push_back({m, m});
    out.back().end = m + 1;
  }
  return out;
}

// body(segment, its first position in the sequence, first query, number of queries) with
// scratch.counts set: how many of the segment's keys each of the queries sees. In rising order for
// each query: first the segments that all rows share, then the own one of each chunk.
template <class Body>
void Attention::for_each_segment(const RowBlock& block, AttentionScratch& scratch,
                                 const Body& body) const {
  const std::int64_t n = (block.end - block.begin) * group_;
  std::int64_t before = 0;
  for (const CpuSegment* s : chain(block.begin).segments) {
    if (s == chain(block.begin).own) break;
    std::fill_n(scratch.counts.begin(), n, s->length());
    if (s->length() > 0) body(*s, before, 0, n);
    before += s->length();
  }
  for (std::int64_t begin = block.begin; begin < block.end;) {
    std::int64_t end = begin;
    for (; end < block.end && row(end).chunk == row(begin).chunk; ++end) {
      std::fill_n(scratch.counts.begin() + (end - block.begin) * group_, group_,
                  row(end).position + 1 - before);
    }
    body(*chain(begin).own, before, (begin - block.begin) * group_, (end - begin) * group_);
    begin = end;
  }
}

// body(position, number of positions, counts): pieces of a segment as far as queries [first, first +
// n) see it, all of it at once when nothing needs to be decoded.
template <class Body>
void Attention::for_each_tile(const CpuSegment& segment, std::int64_t first, std::int64_t n,
                              AttentionScratch& scratch, const Body& body) const {
  const std::int64_t* counts = scratch.counts.data() + first;
  const std::int64_t all = *std::max_element(counts, counts + n);
  if (segment.shape().bits == KvBits::k32) {
    body(0, all, counts);
    return;
  }
  for (std::int64_t at = 0; at < all; at += kDecodeTile) {
    const std::int64_t size = std::min(kDecodeTile, all - at);
    for (std::int64_t i = 0; i < n; ++i) {
      scratch.tile_counts[static_cast<std::size_t>(i)] =
          std::clamp<std::int64_t>(counts[i] - at, 0, size);
    }
    body(at, size, static_cast<const std::int64_t*>(scratch.tile_counts.data()));
  }
}

void Attention::run(const RowBlock& block, std::int64_t kv_head, AttentionScratch& scratch) const {
  const std::int64_t d = job_.head_dim, n = (block.end - block.begin) * group_;
  const auto row_bytes = static_cast<std::size_t>(group_ * d) * sizeof(float);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
  float* queries = scratch.queries.reserve(n * d);
  float* sums = scratch.out.reserve(n * d);
  float* scores = scratch.scores.reserve(n * stride_);
  float* decoded = scratch.decoded.reserve(kDecodeTile * d);
  float* factors = scratch.factors.reserve(n);
  scratch.counts.resize(static_cast<std::size_t>(n));
  scratch.tile_counts.resize(static_cast<std::size_t>(n));
  for (std::int64_t m = block.begin; m < block.end; ++m) {
    std::memcpy(queries + (m - block.begin) * group_ * d,
                job_.q + (m * job_.heads + kv_head * group_) * d, row_bytes);
  }
  const bool rotated = kv_rotated(chain(block.begin).own->shape().bits);
  for (std::int64_t i = 0; rotated && i < n; ++i) rotate_head(queries + i * d, d);

  for_each_segment(
      block, scratch,
      [&](const CpuSegment& s, std::int64_t before, std::int64_t first, std::int64_t count) {
        for_each_tile(s, first, count, scratch,
                      [&](std::int64_t at, std::int64_t size, const std::int64_t* counts) {
                        kernels_.attention_scores(queries + first * d, d, count,
                                                  s.keys(job_.layer, kv_head, at, size, decoded),
                                                  counts, d, scale,
                                                  scores + first * stride_ + before + at, stride_);
                      });
      });
  // One softmax over the whole chain: where it is cut into segments changes no bit.
  std::fill_n(sums, n * d, 0.0f);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t seen = row(block.begin + i / group_).position + 1;
    factors[i] = 1.0f / kernels_.softmax_unnormalized(scores + i * stride_, seen);
  }
  for_each_segment(
      block, scratch,
      [&](const CpuSegment& s, std::int64_t before, std::int64_t first, std::int64_t count) {
        for_each_tile(s, first, count, scratch,
                      [&](std::int64_t at, std::int64_t size, const std::int64_t* counts) {
                        kernels_.attention_values(scores + first * stride_ + before + at, stride_,
                                                  count,
                                                  s.values(job_.layer, kv_head, at, size, decoded),
                                                  d, counts, d, sums + first * d, d);
                      });
      });
  for (std::int64_t i = 0; i < n; ++i) {
    if (rotated) rotate_head(sums + i * d, d);
    float* out = head_row(job_.out, block.begin + i / group_, kv_head) + i % group_ * d;
    for (std::int64_t k = 0; k < d; ++k) out[k] = sums[i * d + k] * factors[i];
  }
}

}  // namespace

KvChain::KvChain(CpuSegment* last) : own(last) {
  for (const CpuSegment* s = last; s != nullptr; s = s->parent()) segments.push_back(s);
  std::reverse(segments.begin(), segments.end());
}

void attend(ThreadPool& pool, const AttentionJob& job, std::span<AttentionScratch> scratch) {
  if (job.rows.empty()) return;
  const Attention attention(job);
  const std::vector<RowBlock> blocks = attention.blocks(pool.threads());
  const auto count = static_cast<std::int64_t>(blocks.size());
  const auto run = [&](std::int64_t i, int worker) {
    // Head by head, so that the threads share one head's keys and values in their caches; within a
    // head the last rows, which see the most, first.
    attention.run(blocks[static_cast<std::size_t>(count - 1 - i % count)], i / count,
                  scratch[static_cast<std::size_t>(worker)]);
  };
  const std::int64_t tasks = count * job.kv_heads;
  if (attention.work() <= kInlineAttention) {
    for (std::int64_t i = 0; i < tasks; ++i) run(i, 0);
    return;
  }
  pool.parallel_for(static_cast<std::size_t>(tasks), 1,
                    [&](std::size_t begin, std::size_t end, int worker) {
                      for (std::size_t i = begin; i < end; ++i) {
                        run(static_cast<std::int64_t>(i), worker);
                      }
                    });
}

}  // namespace qx
