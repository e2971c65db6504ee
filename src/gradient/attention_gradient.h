// Causal attention of one whole sequence, forward and backward: queries, keys and values of all
// positions at hand, nothing cached.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "model/buffer.h"

namespace qx {

struct AttentionShape {
  std::int64_t rows = 0, heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t q_width() const { return heads * head_dim; }
  std::int64_t kv_width() const { return kv_heads * head_dim; }
};

struct SequenceAttentionScratch {
  explicit SequenceAttentionScratch(int threads) : per_worker(static_cast<std::size_t>(threads)) {}
  struct Worker {
    FloatBuffer keys, values, scores, slopes, turned;
    std::vector<std::int64_t> counts, all;
  };
  std::vector<Worker> per_worker;
  FloatBuffer dk, dv;  // by query head
};

// out [rows, q_width] = softmax(q k^T / sqrt(head_dim)) v over the keys up to the row's own; q is
// [rows, q_width], k and v [rows, kv_width]. The model's own kernels in its own order: its bits.
void attend_sequence(ThreadPool& pool, SequenceAttentionScratch& scratch, AttentionShape shape,
                     const float* q, const float* k, const float* v, float* out);

// Gradients of q, k and v from that of out. With P the probabilities and s = 1 / sqrt(head_dim):
// dV = P^T dO, dP = dO V^T, dS = P o (dP - rowsum(dO o O)), dQ = s dS K, dK = s dS^T Q (the
// derivative of a softmax; Dao et al., arXiv 2205.14135, appendix B.2). P is computed again, 64
// queries at a time.
void attention_gradient(ThreadPool& pool, SequenceAttentionScratch& scratch, AttentionShape shape,
                        const float* q, const float* k, const float* v, const float* out,
                        const float* dout, float* dq, float* dk, float* dv);

}  // namespace qx
