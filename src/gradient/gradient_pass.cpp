// SPDX-License-Identifier: Apache-2.0
#include "gradient/gradient_pass.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/interrupt.h"
#include "gradient/attention_gradient.h"
#include "gradient/layer_rows.h"
#include "gradient/matrix_gradient.h"
#include "model/linear_input.h"
#include "model/rope.h"

namespace qx {
namespace {

constexpr std::int64_t kRowGrain = 16;  // rows a thread takes at a time

// What a layer computes of its input, all [rows, ..].
struct LayerValues {
  FloatBuffer normed, q_raw, k_raw, q, k, v, attended;
  FloatBuffer middle;  // x after attention
  FloatBuffer post, gate, up, act;
};
struct LayerSlopes {
  FloatBuffer x, normed, q, k, v, attended, gate, up;
};

}  // namespace

const Linear& linear_at(const ModelWeights& weights, MatrixPlace place) {
  if (place.role == Role::kEmbedding) return weights.embedding;
  if (place.role == Role::kHead) return weights.head;
  const LayerWeights& layer = weights.layers.at(static_cast<std::size_t>(place.layer));
  switch (place.role) {
    case Role::kAttentionQ:
      return layer.q;
    case Role::kAttentionK:
      return layer.k;
    case Role::kAttentionV:
      return layer.v;
    case Role::kAttentionO:
      return layer.o;
    case Role::kMlpGate:
      return layer.gate;
    case Role::kMlpUp:
      return layer.up;
    case Role::kMlpDown:
      return layer.down;
    default:
      QX_CHECK(false);
  }
  std::abort();
}

class GradientPass::Impl {
 public:
  Impl(const ModelWeights& weights, ThreadPool& pool)
      : weights_(weights),
        c_(weights.config),
        pool_(pool),
        table_(kernels()),
        eps_(static_cast<float>(c_.rms_norm_eps)),
        rope_(c_.rope, c_.head_dim),
        products_(pool.threads()),
        attention_(pool.threads()),
        states_(weights.layers.size() + 1) {}

  double run(std::span<const TokenId> tokens, const LossFunction& loss, GradientObserver& observer);
  std::span<float> forward(std::span<const TokenId> tokens);
  std::span<float> resume(std::size_t layer, std::span<const float> input);
  std::span<const float> layer_input(std::size_t layer) const {
    return {states_.at(layer).data(), static_cast<std::size_t>(rows_ * c_.hidden_size)};
  }

 private:
  float* rows_of(FloatBuffer& buffer, std::int64_t width) { return buffer.reserve(rows_ * width); }
  // body(row) for every row, on the pool.
  template <class Body>
  void for_rows(const Body& body) {
    pool_.parallel_for(static_cast<std::size_t>(rows_), kRowGrain,
                       [&](std::size_t begin, std::size_t end, int) {
                         for (std::size_t m = begin; m < end; ++m) {
                           body(static_cast<std::int64_t>(m));
                         }
                       });
  }
  void check_tokens(std::span<const TokenId> tokens) const;
  void multiply(const float* x, const Linear& linear, float* out);
  void normalize(const float* x, const std::vector<float>& weight, float* out);
  void rotate_heads(const float* raw, const std::vector<float>& norm, std::int64_t width,
                    float* out);
  void rotate_back(const float* raw, const std::vector<float>& norm, std::int64_t width,
                   float* slope);

  void embed(std::span<const TokenId> tokens);
  void forward_layer(std::size_t layer, float* out);
  void backward_layer(std::size_t layer, GradientObserver& observer);
  void forward_layers(std::size_t first);
  std::span<float> forward_head();
  double backward_head(const LossFunction& loss, GradientObserver& observer);
  void backward_embedding(std::span<const TokenId> tokens, GradientObserver& observer);

  // Shows a matrix to the observer and, where wanted, the gradient of its weights.
  void show(GradientObserver& observer, MatrixPlace place, const float* inputs, const float* dy);
  void back(const Linear& linear, const float* dy, bool add, float* dx) {
    input_gradient(pool_, products_, dy, rows_, linear.rows, add, dx);
  }
  AttentionShape attention_shape() const {
    return {rows_, c_.num_attention_heads, c_.num_key_value_heads, c_.head_dim};
  }

  const ModelWeights& weights_;
  const ModelConfig& c_;
  ThreadPool& pool_;
  const KernelTable& table_;
  const float eps_;
  RopeTable rope_;
  ProductScratch products_;
  SequenceAttentionScratch attention_;
  LinearInput input_;
  std::int64_t rows_ = 0;
  std::vector<FloatBuffer> states_;  // the input of each layer, and of the last norm
  LayerValues values_;
  LayerSlopes slopes_;
  FloatBuffer final_, logits_;
};

void GradientPass::Impl::check_tokens(std::span<const TokenId> tokens) const {
  if (tokens.empty()) fail(weights_.place, "got no tokens, expected at least one");
  for (const TokenId token : tokens) {
    if (token < 0 || token >= c_.vocab_size) {
      fail(weights_.place, "got token id {}, expected 0 to {} (the model's vocab_size is {})",
           token, c_.vocab_size - 1, c_.vocab_size);
    }
  }
}

void GradientPass::Impl::multiply(const float* x, const Linear& linear, float* out) {
  const WeightRows& w = linear.rows;
  input_.prepare(pool_, Precision::kReference, x, rows_, w.cols, {&linear});
  for_each_tile(pool_, rows_, w.rows, [&](const TileRange& t, int worker) {
    input_.multiply(linear, t, out + t.m_begin * w.rows + t.n_begin, w.rows,
                    products_.per_worker[static_cast<std::size_t>(worker)].kernel.reserve(
                        linear_scratch_floats(w.cols)));
  });
}

void GradientPass::Impl::normalize(const float* x, const std::vector<float>& weight, float* out) {
  const std::int64_t n = c_.hidden_size;
  for_rows(
      [&](std::int64_t m) { table_.rms_norm(x + m * n, weight.data(), n, eps_, out + m * n); });
}

// Norm of each head, where the family has one, and rotation.
void GradientPass::Impl::rotate_heads(const float* raw, const std::vector<float>& norm,
                                      std::int64_t width, float* out) {
  const std::int64_t d = c_.head_dim;
  for_rows([&](std::int64_t m) {
    for (std::int64_t at = m * width; at < (m + 1) * width; at += d) {
      if (norm.empty()) {
        std::copy_n(raw + at, d, out + at);
      } else {
        table_.rms_norm(raw + at, norm.data(), d, eps_, out + at);
      }
      table_.rope(out + at, rope_.cosine(m), rope_.sine(m), d);
    }
  });
}

void GradientPass::Impl::rotate_back(const float* raw, const std::vector<float>& norm,
                                     std::int64_t width, float* slope) {
  const std::int64_t d = c_.head_dim;
  for_rows([&](std::int64_t m) {
    for (std::int64_t at = m * width; at < (m + 1) * width; at += d) {
      rope_gradient(slope + at, rope_.cosine(m), rope_.sine(m), d);
      if (!norm.empty()) {
        rms_norm_gradient(raw + at, norm.data(), slope + at, d, eps_, slope + at);
      }
    }
  });
}

void GradientPass::Impl::embed(std::span<const TokenId> tokens) {
  float* x = rows_of(states_[0], c_.hidden_size);
  for_rows([&](std::int64_t m) {
    table_.decode_row(weights_.embedding.rows, tokens[static_cast<std::size_t>(m)], 0,
                      c_.hidden_size, x + m * c_.hidden_size);
  });
}

// As the family files put a layer together (model/llama.cpp, qwen2.cpp, qwen3.cpp): the families
// differ by biases, which belong to the linear layers, and by head norms.
void GradientPass::Impl::forward_layer(std::size_t layer, float* out) {
  const LayerWeights& w = weights_.layers[layer];
  const float* x = states_[layer].data();
  const std::int64_t hidden = c_.hidden_size, inner = c_.intermediate_size;
  const AttentionShape shape = attention_shape();
  LayerValues& v = values_;

  normalize(x, w.input_norm, rows_of(v.normed, hidden));
  multiply(v.normed.data(), w.q, rows_of(v.q_raw, shape.q_width()));
  multiply(v.normed.data(), w.k, rows_of(v.k_raw, shape.kv_width()));
  multiply(v.normed.data(), w.v, rows_of(v.v, shape.kv_width()));
  rotate_heads(v.q_raw.data(), w.q_norm, shape.q_width(), rows_of(v.q, shape.q_width()));
  rotate_heads(v.k_raw.data(), w.k_norm, shape.kv_width(), rows_of(v.k, shape.kv_width()));
  attend_sequence(pool_, attention_, shape, v.q.data(), v.k.data(), v.v.data(),
                  rows_of(v.attended, shape.q_width()));
  multiply(v.attended.data(), w.o, rows_of(v.middle, hidden));
  for_rows(
      [&](std::int64_t m) { table_.add(v.middle.data() + m * hidden, x + m * hidden, hidden); });

  normalize(v.middle.data(), w.post_norm, rows_of(v.post, hidden));
  multiply(v.post.data(), w.gate, rows_of(v.gate, inner));
  multiply(v.post.data(), w.up, rows_of(v.up, inner));
  rows_of(v.act, inner);
  for_rows([&](std::int64_t m) {
    float* act = v.act.data() + m * inner;
    std::copy_n(v.gate.data() + m * inner, inner, act);
    table_.swiglu(act, v.up.data() + m * inner, inner);
  });
  if (out == nullptr) return;
  multiply(v.act.data(), w.down, out);
  for_rows(
      [&](std::int64_t m) { table_.add(out + m * hidden, v.middle.data() + m * hidden, hidden); });
}

void GradientPass::Impl::show(GradientObserver& observer, MatrixPlace place, const float* inputs,
                              const float* dy) {
  const WeightRows& w = linear_at(weights_, place).rows;
  observer.observe({place, rows_, w.cols, w.rows, inputs, dy});
  if (!observer.wants_weights(place)) return;
  transpose_input(pool_, products_, inputs, rows_, w.cols);
  weight_gradient(pool_, products_, dy, rows_, w.rows, w.cols,
                  [&](std::int64_t first, std::int64_t count, const float* values, int worker) {
                    observer.weight_rows(place, first, count, values, worker);
                  });
}

// slopes_.x goes from dL/d(output of the layer) to dL/d(its input).
void GradientPass::Impl::backward_layer(std::size_t layer, GradientObserver& observer) {
  const LayerWeights& w = weights_.layers[layer];
  const std::int64_t hidden = c_.hidden_size, inner = c_.intermediate_size;
  const AttentionShape shape = attention_shape();
  const LayerValues& v = values_;
  LayerSlopes& s = slopes_;
  const auto index = static_cast<std::int64_t>(layer);
  float* dx = s.x.data();
  float* dnormed = rows_of(s.normed, hidden);
  const auto add_norm = [&](const float* x, const std::vector<float>& weight) {
    for_rows([&](std::int64_t m) {
      float* d = dnormed + m * hidden;
      rms_norm_gradient(x + m * hidden, weight.data(), d, hidden, eps_, d);
      table_.add(dx + m * hidden, d, hidden);
    });
  };

  show(observer, {Role::kMlpDown, index}, v.act.data(), dx);
  float* dgate = rows_of(s.gate, inner);
  float* dup = rows_of(s.up, inner);
  back(w.down, dx, false, dgate);
  for_rows([&](std::int64_t m) {
    const std::int64_t at = m * inner;
    swiglu_gradient(v.gate.data() + at, v.up.data() + at, dgate + at, inner, dgate + at, dup + at);
  });
  show(observer, {Role::kMlpGate, index}, v.post.data(), dgate);
  show(observer, {Role::kMlpUp, index}, v.post.data(), dup);
  back(w.gate, dgate, false, dnormed);
  back(w.up, dup, true, dnormed);
  add_norm(v.middle.data(), w.post_norm);

  show(observer, {Role::kAttentionO, index}, v.attended.data(), dx);
  float* dattended = rows_of(s.attended, shape.q_width());
  back(w.o, dx, false, dattended);
  float* dq = rows_of(s.q, shape.q_width());
  float* dk = rows_of(s.k, shape.kv_width());
  float* dv = rows_of(s.v, shape.kv_width());
  attention_gradient(pool_, attention_, shape, v.q.data(), v.k.data(), v.v.data(),
                     v.attended.data(), dattended, dq, dk, dv);
  rotate_back(v.q_raw.data(), w.q_norm, shape.q_width(), dq);
  rotate_back(v.k_raw.data(), w.k_norm, shape.kv_width(), dk);
  show(observer, {Role::kAttentionQ, index}, v.normed.data(), dq);
  show(observer, {Role::kAttentionK, index}, v.normed.data(), dk);
  show(observer, {Role::kAttentionV, index}, v.normed.data(), dv);
  back(w.q, dq, false, dnormed);
  back(w.k, dk, true, dnormed);
  back(w.v, dv, true, dnormed);
  add_norm(states_[layer].data(), w.input_norm);
}

// Final norm into final_, logits into logits_.
std::span<float> GradientPass::Impl::forward_head() {
  const std::int64_t vocab = weights_.head.rows.rows;
  normalize(states_.back().data(), weights_.norm, rows_of(final_, c_.hidden_size));
  float* logits = rows_of(logits_, vocab);
  multiply(final_.data(), weights_.head, logits);
  std::vector<char> broken(static_cast<std::size_t>(rows_));
  for_rows([&](std::int64_t m) {
    const float* row = logits + m * vocab;
    broken[static_cast<std::size_t>(m)] =
        !std::all_of(row, row + vocab, [](float value) { return std::isfinite(value); });
  });
  if (const auto bad = std::find(broken.begin(), broken.end(), 1); bad != broken.end()) {
    fail(weights_.place,
         "got logits that are not finite (token {} of the window), expected finite ones; the "
         "weights hold NaN, infinite or far too large values",
         bad - broken.begin());
  }
  return {logits, static_cast<std::size_t>(rows_ * vocab)};
}

// Leaves dL/dlogits in logits_, and dL/d(last layer's output).
double GradientPass::Impl::backward_head(const LossFunction& loss, GradientObserver& observer) {
  const std::int64_t hidden = c_.hidden_size, vocab = weights_.head.rows.rows;
  const float* x = states_.back().data();
  const std::span<float> logits_span = forward_head();
  float* logits = logits_span.data();
  const double value = loss(logits_span);
  if (!std::isfinite(value)) fail(weights_.place, "got a loss of {}, expected a finite one", value);

  const MatrixPlace head{Role::kHead, -1};
  if (c_.tie_word_embeddings) {
    observer.observe({head, rows_, hidden, vocab, final_.data(), logits});
  } else {
    show(observer, head, final_.data(), logits);
  }
  float* dx = rows_of(slopes_.x, hidden);
  back(weights_.head, logits, false, dx);
  for_rows([&](std::int64_t m) {
    rms_norm_gradient(x + m * hidden, weights_.norm.data(), dx + m * hidden, hidden, eps_,
                      dx + m * hidden);
  });
  return value;
}

void GradientPass::Impl::backward_embedding(std::span<const TokenId> tokens,
                                            GradientObserver& observer) {
  const MatrixPlace place{Role::kEmbedding, -1};
  const std::int64_t hidden = c_.hidden_size, vocab = weights_.embedding.rows.rows;
  const float* dx = slopes_.x.data();
  observer.observe({place, rows_, 0, hidden, nullptr, dx});
  if (!observer.wants_weights(place)) return;
  std::vector<std::int64_t> order(tokens.size());  // positions by token, then by position
  std::iota(order.begin(), order.end(), 0);
  const auto token = [&](std::int64_t m) -> std::int64_t {
    return tokens[static_cast<std::size_t>(m)];
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return token(a) < token(b); });
  const auto finish = [&](std::int64_t first, std::int64_t count, float* values, int worker) {
    auto at = std::lower_bound(order.begin(), order.end(), first,
                               [&](std::int64_t m, std::int64_t id) { return token(m) < id; });
    for (; at != order.end() && token(*at) < first + count; ++at) {
      table_.add(values + (token(*at) - first) * hidden, dx + *at * hidden, hidden);
    }
    observer.weight_rows(place, first, count, values, worker);
  };
  if (c_.tie_word_embeddings) {
    transpose_input(pool_, products_, final_.data(), rows_, hidden);
    weight_gradient(pool_, products_, logits_.data(), rows_, vocab, hidden, finish);
    return;
  }
  constexpr std::int64_t kRows = 256;
  pool_.parallel_for(
      static_cast<std::size_t>((vocab + kRows - 1) / kRows), 1,
      [&](std::size_t begin, std::size_t end, int worker) {
        for (std::size_t t = begin; t < end; ++t) {
          const auto first = static_cast<std::int64_t>(t) * kRows;
          const std::int64_t count = std::min(kRows, vocab - first);
          float* tile =
              products_.per_worker[static_cast<std::size_t>(worker)].tile.reserve(kRows * hidden);
          std::fill_n(tile, count * hidden, 0.0f);
          finish(first, count, tile, worker);
        }
      });
}

void GradientPass::Impl::forward_layers(std::size_t first) {
  for (std::size_t layer = first; layer < weights_.layers.size(); ++layer) {
    check_interrupt();
    forward_layer(layer, rows_of(states_[layer + 1], c_.hidden_size));
  }
}

std::span<float> GradientPass::Impl::forward(std::span<const TokenId> tokens) {
  check_tokens(tokens);
  rows_ = static_cast<std::int64_t>(tokens.size());
  rope_.reserve(rows_);
  embed(tokens);
  forward_layers(0);
  return forward_head();
}

std::span<float> GradientPass::Impl::resume(std::size_t layer, std::span<const float> input) {
  rows_ = static_cast<std::int64_t>(input.size()) / c_.hidden_size;
  QX_CHECK(rows_ > 0 && rows_ * c_.hidden_size == static_cast<std::int64_t>(input.size()));
  rope_.reserve(rows_);
  std::copy(input.begin(), input.end(), rows_of(states_.at(layer), c_.hidden_size));
  forward_layers(layer);
  return forward_head();
}

double GradientPass::Impl::run(std::span<const TokenId> tokens, const LossFunction& loss,
                               GradientObserver& observer) {
  check_tokens(tokens);
  rows_ = static_cast<std::int64_t>(tokens.size());
  rope_.reserve(rows_);
  embed(tokens);
  forward_layers(0);
  const double value = backward_head(loss, observer);
  const std::size_t layers = weights_.layers.size();
  for (std::size_t layer = layers; layer-- > 0;) {
    check_interrupt();
    // The last layer's values are still there.
    if (layer + 1 < layers) forward_layer(layer, nullptr);
    backward_layer(layer, observer);
  }
  backward_embedding(tokens, observer);
  return value;
}

GradientPass::GradientPass(const ModelWeights& weights, ThreadPool& pool)
    : impl_(std::make_unique<Impl>(weights, pool)) {}
GradientPass::~GradientPass() = default;

double GradientPass::run(std::span<const TokenId> tokens, const LossFunction& loss,
                         GradientObserver& observer) {
  return impl_->run(tokens, loss, observer);
}
std::span<float> GradientPass::forward(std::span<const TokenId> tokens) {
  return impl_->forward(tokens);
}
std::span<const float> GradientPass::layer_input(std::size_t layer) const {
  return impl_->layer_input(layer);
}
std::span<float> GradientPass::resume(std::size_t layer, std::span<const float> input) {
  return impl_->resume(layer, input);
}

std::int64_t gradient_pass_bytes(const ModelConfig& c, std::int64_t tokens) {
  const std::int64_t q = c.num_attention_heads * c.head_dim,
                     kv = c.num_key_value_heads * c.head_dim, hidden = c.hidden_size,
                     inner = c.intermediate_size;
  const std::int64_t inputs = 2 * hidden + q + inner;
  const std::int64_t outputs = q + 2 * kv + 2 * hidden + 2 * inner;
  return 4 * tokens *
         (c.vocab_size + (c.num_hidden_layers + 1) * hidden + 2 * (inputs + outputs) + 4 * q);
}

}  // namespace qx
