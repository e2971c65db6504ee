// SPDX-License-Identifier: Apache-2.0
#include "model/reference_forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "model/rope.h"
#include "quant/affine.h"
#include "tensor/dtype.h"

namespace qx {
namespace {

using Vec = std::vector<double>;

DType float_dtype(int kind) {
  static constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
  return kTypes[kind];
}

Vec weight_row(const WeightRows& w, std::int64_t row) {
  std::vector<float> values(static_cast<std::size_t>(w.cols));
  if (w.kind == WeightKind::kAffine) {
    const AffineView view{
        {w.rows, w.cols}, {w.bits, w.group}, float_dtype(static_cast<int>(w.scale_kind)),
        w.values,         w.scales,          w.biases};
    decode_rows(view, {row, row + 1}, values);
  } else {
    load_floats(float_dtype(static_cast<int>(w.kind)), w.values,
                static_cast<std::size_t>(row * w.cols), values);
  }
  return {values.begin(), values.end()};
}

Vec product(const Linear& linear, const Vec& x) {
  Vec out(static_cast<std::size_t>(linear.rows.rows));
  for (std::size_t n = 0; n < out.size(); ++n) {
    const Vec w = weight_row(linear.rows, static_cast<std::int64_t>(n));
    double sum = linear.bias.empty() ? 0.0 : static_cast<double>(linear.bias[n]);
    for (std::size_t k = 0; k < x.size(); ++k) sum += w[k] * x[k];
    out[n] = sum;
  }
  return out;
}

// In place on x[begin, begin + weight.size()).
void rms_norm(Vec& x, std::size_t begin, const std::vector<float>& weight, double eps) {
  double squares = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) squares += x[begin + i] * x[begin + i];
  const double scale = 1.0 / std::sqrt(squares / static_cast<double>(weight.size()) + eps);
  for (std::size_t i = 0; i < weight.size(); ++i) {
    x[begin + i] *= scale * static_cast<double>(weight[i]);
  }
}

void rotate(Vec& heads, std::int64_t head_dim, const RopeTable& rope, std::int64_t position) {
  const auto half = static_cast<std::size_t>(head_dim / 2);
  for (std::size_t h = 0; h < heads.size(); h += 2 * half) {
    for (std::size_t i = 0; i < half; ++i) {
      const auto c = static_cast<double>(rope.cosine(position)[i]);
      const auto s = static_cast<double>(rope.sine(position)[i]);
      const double a = heads[h + i], b = heads[h + half + i];
      heads[h + i] = a * c - b * s;
      heads[h + half + i] = b * c + a * s;
    }
  }
}

// Attention of one token's query heads over all keys so far.
Vec attend(const Vec& q, const std::vector<Vec>& keys, const std::vector<Vec>& values,
           const ModelConfig& c) {
  const auto d = static_cast<std::size_t>(c.head_dim);
  const auto heads_per_kv = static_cast<std::size_t>(c.num_attention_heads / c.num_key_value_heads);
  Vec out(q.size(), 0.0);
  for (std::size_t head = 0; head * d < q.size(); ++head) {
    const std::size_t kv = head / heads_per_kv * d;
    Vec p(keys.size());
    for (std::size_t j = 0; j < keys.size(); ++j) {
      for (std::size_t i = 0; i < d; ++i) p[j] += q[head * d + i] * keys[j][kv + i];
      p[j] /= std::sqrt(static_cast<double>(d));
    }
    const double max = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& v : p) sum += v = std::exp(v - max);
    for (std::size_t j = 0; j < keys.size(); ++j) {
      for (std::size_t i = 0; i < d; ++i) out[head * d + i] += p[j] / sum * values[j][kv + i];
    }
  }
  return out;
}

void add(Vec& x, const Vec& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

}  // namespace

std::vector<std::vector<double>> reference_forward(const ModelWeights& weights,
                                                   std::span<const TokenId> tokens) {
  const ModelConfig& c = weights.config;
  RopeTable rope(c.rope, c.head_dim);
  rope.reserve(static_cast<std::int64_t>(tokens.size()));
  std::vector<std::vector<Vec>> keys(weights.layers.size()), values(weights.layers.size());
  std::vector<std::vector<double>> logits;

  for (std::size_t t = 0; t < tokens.size(); ++t) {
    Vec x = weight_row(weights.embedding.rows, tokens[t]);
    for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
      const LayerWeights& w = weights.layers[layer];
      Vec h = x;
      rms_norm(h, 0, w.input_norm, c.rms_norm_eps);
      Vec q = product(w.q, h), k = product(w.k, h);
      for (std::size_t i = 0; i < q.size() && !w.q_norm.empty(); i += w.q_norm.size()) {
        rms_norm(q, i, w.q_norm, c.rms_norm_eps);
      }
      for (std::size_t i = 0; i < k.size() && !w.k_norm.empty(); i += w.k_norm.size()) {
        rms_norm(k, i, w.k_norm, c.rms_norm_eps);
      }
      rotate(q, c.head_dim, rope, static_cast<std::int64_t>(t));
      rotate(k, c.head_dim, rope, static_cast<std::int64_t>(t));
      keys[layer].push_back(k);
      values[layer].push_back(product(w.v, h));
      add(x, product(w.o, attend(q, keys[layer], values[layer], c)));

      h = x;
      rms_norm(h, 0, w.post_norm, c.rms_norm_eps);
      Vec gate = product(w.gate, h);
      const Vec up = product(w.up, h);
      for (std::size_t i = 0; i < gate.size(); ++i) {
        gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
      }
      add(x, product(w.down, gate));
    }
    rms_norm(x, 0, weights.norm, c.rms_norm_eps);
    logits.push_back(product(weights.head, x));
  }
  return logits;
}

}  // namespace qx
