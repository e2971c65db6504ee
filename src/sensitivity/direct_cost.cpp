// SPDX-License-Identifier: Apache-2.0
#include "sensitivity/direct_cost.h"

#include <cmath>
#include <utility>

#include "base/error.h"
#include "quant/kernel_kinds.h"

namespace qx {
namespace {

// Puts rows in place of a matrix and takes them back.
class Replacement {
 public:
  Replacement(ModelWeights& weights, MatrixPlace place, const WeightRows& rows)
      : weights_(weights) {
    const bool tied = weights.config.tie_word_embeddings;
    if (place.role == Role::kEmbedding) {
      put(weights.embedding, rows);
      if (tied) put(weights.head, rows);
    } else {
      put(const_cast<Linear&>(linear_at(weights_, place)), rows);
    }
  }
  ~Replacement() {
    for (auto& [linear, rows] : old_) linear->rows = rows;
  }
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;

 private:
  void put(Linear& linear, const WeightRows& rows) {
    QX_CHECK(linear.rows.rows == rows.rows && linear.rows.cols == rows.cols);
    old_.emplace_back(&linear, linear.rows);
    linear.rows = rows;
  }
  ModelWeights& weights_;
  std::vector<std::pair<Linear*, WeightRows>> old_;
};

WeightRows stored(const CodedRows& coded) {
  WeightRows w;
  w.kind = WeightKind::kAffine;
  w.scale_kind = scale_kind_of(coded.dtype);
  w.bits = coded.spec.bits;
  w.group = coded.spec.group;
  w.rows = coded.shape.rows;
  w.cols = coded.shape.cols;
  w.values = coded.codes.data();
  w.scales = coded.scales.data();
  w.biases = coded.biases.data();
  return w;
}

}  // namespace

DirectCost::DirectCost(ModelWeights& weights, std::span<const std::vector<TokenId>> windows,
                       GradientPass& pass, ThreadPool& pool)
    : weights_(weights), windows_(windows), pass_(pass), pool_(pool) {
  for (const std::vector<TokenId>& window : windows) {
    Window& kept = kept_.emplace_back();
    const std::span<float> logits = pass.forward(window);
    kept.logits.assign(logits.begin(), logits.end());
    for (std::size_t layer = 0; layer <= weights.layers.size(); ++layer) {
      const std::span<const float> input = pass.layer_input(layer);
      kept.inputs.emplace_back(input.begin(), input.end());
    }
  }
}

// sum p_i (b_i - v_i) - (ln Z_b - ln Z_v) with p = exp(b) / Z_b: the differences of logits are
// exact or nearly so, so small divergences keep their digits.
double DirectCost::divergence(std::span<const float> base, std::span<float> variant) {
  const std::int64_t vocab = weights_.config.vocab_size;
  const std::int64_t rows = static_cast<std::int64_t>(base.size()) / vocab;
  std::vector<double> sums(static_cast<std::size_t>(rows));
  pool_.parallel_for(
      static_cast<std::size_t>(rows), 4, [&](std::size_t begin, std::size_t end, int) {
        std::vector<float> p(static_cast<std::size_t>(vocab));
        for (std::size_t m = begin; m < end; ++m) {
          const float* b = base.data() + static_cast<std::int64_t>(m) * vocab;
          float* v = variant.data() + static_cast<std::int64_t>(m) * vocab;
          std::copy_n(b, vocab, p.data());
          float b_max = 0, v_max = 0;
          std::int64_t index = 0;
          kernels().max_index(b, vocab, &b_max, &index);
          kernels().max_index(v, vocab, &v_max, &index);
          kernels().softmax_unnormalized(p.data(), vocab);
          double p_sum = 0, moved = 0;
          for (std::int64_t i = 0; i < vocab; ++i) {
            const auto weight = static_cast<double>(p[static_cast<std::size_t>(i)]);
            p_sum += weight;
            moved += weight * (static_cast<double>(b[i]) - static_cast<double>(v[i]));
          }
          const double b_sum = kernels().sum_exp(b, vocab, b_max);
          const double v_sum = kernels().sum_exp(v, vocab, v_max);
          sums[m] = moved / p_sum - (static_cast<double>(b_max) - static_cast<double>(v_max)) -
                    std::log(b_sum / v_sum);
        }
      });
  double total = 0;
  for (const double s : sums) total += s;
  return total;
}

double DirectCost::measure(MatrixPlace place, const CodedRows& coded) {
  const Replacement replacement(weights_, place, stored(coded));
  double sum = 0;
  std::size_t tokens = 0;
  for (std::size_t w = 0; w < windows_.size(); ++w) {
    const std::size_t layer = place.role == Role::kHead ? weights_.layers.size()
                              : place.layer < 0         ? 0
                                                        : static_cast<std::size_t>(place.layer);
    const std::span<float> logits = place.role == Role::kEmbedding
                                        ? pass_.forward(windows_[w])
                                        : pass_.resume(layer, kept_[w].inputs[layer]);
    sum += divergence(kept_[w].logits, logits);
    tokens += windows_[w].size();
  }
  return sum / static_cast<double>(tokens);
}

}  // namespace qx
