// SPDX-License-Identifier: Apache-2.0
#include "gradient/attention_gradient.h"

#include <algorithm>
#include <cmath>

#include "kernels/api.h"
#include "model/kv_segment.h"

namespace qx {
namespace {

constexpr std::int64_t kQueries = 64;  // at a time

// One query head.
class Head {
 public:
  Head(AttentionShape shape, std::int64_t head, SequenceAttentionScratch::Worker& worker)
      : shape_(shape),
        worker_(worker),
        table_(kernels()),
        q_at_(head * shape.head_dim),
        kv_at_(head / (shape.heads / shape.kv_heads) * shape.head_dim),
        stride_((shape.rows + 15) / 16 * 16 + 16),
        scale_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)))) {
    worker.scores.reserve(kQueries * stride_);
    worker.counts.resize(static_cast<std::size_t>(kQueries));
  }

  void forward(const float* q, const float* k, const float* v, float* out) {
    const float* keys = pack(k, worker_.keys);
    float factors[kQueries];
    for (begin_ = 0; begin_ < shape_.rows; begin_ += kQueries) {
      set_counts();
      scores(q, keys, worker_.scores.data());
      for (std::int64_t i = 0; i < count_; ++i) {
        factors[i] =
            1.0f / table_.softmax_unnormalized(worker_.scores.data() + i * stride_, begin_ + i + 1);
        std::fill_n(row(out, i), shape_.head_dim, 0.0f);
      }
      table_.attention_values(worker_.scores.data(), stride_, count_, v + kv_at_, shape_.kv_width(),
                              worker_.counts.data(), shape_.head_dim, row(out, 0),
                              shape_.q_width());
      for (std::int64_t i = 0; i < count_; ++i) {
        float* to = row(out, i);
        for (std::int64_t d = 0; d < shape_.head_dim; ++d) to[d] *= factors[i];
      }
    }
  }

  // dk, dv: [rows, head_dim] of this head alone.
  void backward(const float* q, const float* k, const float* v, const float* out, const float* dout,
                float* dq, float* dk, float* dv) {
    const std::int64_t d = shape_.head_dim;
    const float* keys = pack(k, worker_.keys);
    const float* values = pack(v, worker_.values);
    worker_.slopes.reserve(kQueries * stride_);
    std::fill_n(dk, shape_.rows * d, 0.0f);
    std::fill_n(dv, shape_.rows * d, 0.0f);
    for (begin_ = 0; begin_ < shape_.rows; begin_ += kQueries) {
      set_counts();
      float* p = worker_.scores.data();
      float* slopes = worker_.slopes.data();
      scores(q, keys, p);
      table_.attention_scores(dout + begin_ * shape_.q_width() + q_at_, shape_.q_width(), count_,
                              values, worker_.counts.data(), d, 1.0f, slopes, stride_);
      for (std::int64_t i = 0; i < count_; ++i) softmax_slopes(out, dout, i, p, slopes);
      add_turned(p, dout, dv);
      add_turned(slopes, q, dk);
      for (std::int64_t i = 0; i < count_; ++i) std::fill_n(row(dq, i), d, 0.0f);
      table_.attention_values(slopes, stride_, count_, k + kv_at_, shape_.kv_width(),
                              worker_.counts.data(), d, row(dq, 0), shape_.q_width());
    }
  }

 private:
  template <class T>
  T* row(T* base, std::int64_t i) const {
    return base + (begin_ + i) * shape_.q_width() + q_at_;
  }

  void set_counts() {
    count_ = std::min(kQueries, shape_.rows - begin_);
    for (std::int64_t i = 0; i < count_; ++i) {
      worker_.counts[static_cast<std::size_t>(i)] = begin_ + i + 1;
    }
  }

  void scores(const float* q, const float* keys, float* to) const {
    table_.attention_scores(q + begin_ * shape_.q_width() + q_at_, shape_.q_width(), count_, keys,
                            worker_.counts.data(), shape_.head_dim, scale_, to, stride_);
  }

  // Blocks of 16 rows, transposed, as attention_scores reads keys; zeros beyond the last.
  const float* pack(const float* rows, FloatBuffer& buffer) const {
    const std::int64_t d = shape_.head_dim, width = shape_.kv_width();
    float* to = buffer.reserve((shape_.rows + kKeyBlock - 1) / kKeyBlock * kKeyBlock * d);
    for (std::int64_t j = 0; j < (shape_.rows + kKeyBlock - 1) / kKeyBlock * kKeyBlock; ++j) {
      float* lane = to + j / kKeyBlock * kKeyBlock * d + j % kKeyBlock;
      for (std::int64_t c = 0; c < d; ++c) {
        lane[c * kKeyBlock] = j < shape_.rows ? rows[j * width + kv_at_ + c] : 0.0f;
      }
    }
    return to;
  }

  // Scores become probabilities, dP becomes dS times the scale. Beyond the last key both are zero,
  // as far as any query of the block sees.
  void softmax_slopes(const float* out, const float* dout, std::int64_t i, float* p,
                      float* slopes) const {
    const std::int64_t seen = begin_ + i + 1, all = begin_ + count_;
    float* pi = p + i * stride_;
    float* si = slopes + i * stride_;
    const float factor = 1.0f / table_.softmax_unnormalized(pi, seen);
    const float* o = row(out, i);
    const float* g = row(dout, i);
    double mean = 0;
    for (std::int64_t c = 0; c < shape_.head_dim; ++c) {
      mean += static_cast<double>(o[c]) * static_cast<double>(g[c]);
    }
    const auto centre = static_cast<float>(mean);
    for (std::int64_t j = 0; j < seen; ++j) {
      pi[j] *= factor;
      si[j] = pi[j] * (si[j] - centre) * scale_;
    }
    std::fill(pi + seen, pi + all, 0.0f);
    std::fill(si + seen, si + all, 0.0f);
  }

  // to[j] += sum over the block's queries i of matrix[i][j] * rows[i]
  void add_turned(const float* matrix, const float* rows, float* to) {
    const std::int64_t keys = begin_ + count_;
    float* turned = worker_.turned.reserve(keys * kQueries);
    for (std::int64_t j = 0; j < keys; ++j) {
      for (std::int64_t i = 0; i < count_; ++i) turned[j * kQueries + i] = matrix[i * stride_ + j];
    }
    worker_.all.assign(static_cast<std::size_t>(keys), count_);
    table_.attention_values(turned, kQueries, keys, row(rows, 0), shape_.q_width(),
                            worker_.all.data(), shape_.head_dim, to, shape_.head_dim);
  }

  const AttentionShape shape_;
  SequenceAttentionScratch::Worker& worker_;
  const KernelTable& table_;
  const std::int64_t q_at_, kv_at_, stride_;
  const float scale_;
  std::int64_t begin_ = 0, count_ = 0;
};

template <class Body>
void for_each_head(ThreadPool& pool, SequenceAttentionScratch& scratch, AttentionShape shape,
                   const Body& body) {
  pool.parallel_for(static_cast<std::size_t>(shape.heads), 1,
                    [&](std::size_t begin, std::size_t end, int worker) {
                      for (std::size_t h = begin; h < end; ++h) {
                        Head head(shape, static_cast<std::int64_t>(h),
                                  scratch.per_worker[static_cast<std::size_t>(worker)]);
                        body(head, static_cast<std::int64_t>(h));
                      }
                    });
}

}  // namespace

void attend_sequence(ThreadPool& pool, SequenceAttentionScratch& scratch, AttentionShape shape,
                     const float* q, const float* k, const float* v, float* out) {
  for_each_head(pool, scratch, shape,
                [&](Head& head, std::int64_t) { head.forward(q, k, v, out); });
}

void attention_gradient(ThreadPool& pool, SequenceAttentionScratch& scratch, AttentionShape shape,
                        const float* q, const float* k, const float* v, const float* out,
                        const float* dout, float* dq, float* dk, float* dv) {
  const std::int64_t size = shape.rows * shape.head_dim;
  float* dk_heads = scratch.dk.reserve(shape.heads * size);
  float* dv_heads = scratch.dv.reserve(shape.heads * size);
  for_each_head(pool, scratch, shape, [&](Head& head, std::int64_t h) {
    head.backward(q, k, v, out, dout, dq, dk_heads + h * size, dv_heads + h * size);
  });
  // Query heads of one key-value head, in rising order.
  const std::int64_t d = shape.head_dim, group = shape.heads / shape.kv_heads;
  pool.parallel_for(
      static_cast<std::size_t>(shape.rows), 64, [&](std::size_t begin, std::size_t end, int) {
        for (auto m = static_cast<std::int64_t>(begin); m < static_cast<std::int64_t>(end); ++m) {
          for (std::int64_t h = 0; h < shape.heads; ++h) {
            const std::int64_t to = m * shape.kv_width() + h / group * d, from = h * size + m * d;
            if (h % group == 0) {
              std::copy_n(dk_heads + from, d, dk + to);
              std::copy_n(dv_heads + from, d, dv + to);
            } else {
              kernels().add(dk + to, dk_heads + from, d);
              kernels().add(dv + to, dv_heads + from, d);
            }
          }
        }
      });
}

}  // namespace qx
