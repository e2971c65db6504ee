// Attention of the rows of one forward pass over keys and values in segments.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "model/buffer.h"
#include "model/kv_segment.h"

namespace qx {

// The segments from the root to a chunk's own.
struct KvChain {
  std::vector<const CpuSegment*> segments;
  CpuSegment* own = nullptr;
  explicit KvChain(CpuSegment* last);
};

// A row of a pass: its chunk, and its position in the chunk's sequence, whose key is stored.
struct RowPlace {
  std::size_t chunk;
  std::int64_t position;
};

// Memory that a worker reuses.
struct AttentionScratch {
  FloatBuffer queries, out, scores, decoded, factors;
  std::vector<std::int64_t> counts, tile_counts;
};

struct AttentionJob {
  std::int64_t layer = 0, heads = 0, kv_heads = 0, head_dim = 0;
  std::span<const KvChain> chains;  // by chunk
  std::span<const RowPlace> rows;   // in the order of the chunks
  const float* q = nullptr;         // [rows, heads * head_dim]
  float* out = nullptr;             // the same shape
};

// out = softmax(q k^T / sqrt(head_dim)) v of each row and head over the keys up to the row's
// position. Every bit is the same whatever rows go together, where a sequence is cut into segments,
// and however many threads there are: scores, the softmax over the whole sequence, and the sum over
// values each have one order (kernels/api.h).
// Rows that share a key-value head's keys (of a chunk, or of chunks whose segments have one parent,
// and the query heads of each) go through them together, as many as keep the scores within 4 MB a
// worker; one row alone may take more. scratch: one for each of the pool's threads.
void attend(ThreadPool& pool, const AttentionJob& job, std::span<AttentionScratch> scratch);

}  // namespace qx
