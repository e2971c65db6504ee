// SPDX-License-Identifier: Apache-2.0
#include "model/cpu_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/interrupt.h"

namespace qx {
namespace {

// The vocabulary is summed in blocks of this size, whatever the number of rows or threads.
constexpr std::int64_t kScoreBlock = 1024;
constexpr std::int64_t kScoreRows = 128;  // hidden rows at a time

struct Family {
  std::string_view model_type;
  void (*layer)(Pass&, const LayerWeights&);
};
constexpr Family kFamilies[] = {
    {"qwen3", qwen3_layer}, {"qwen2", qwen2_layer}, {"llama", llama_layer}};

auto layer_function(const ModelWeights& weights) {
  for (const Family& family : kFamilies) {
    if (family.model_type == weights.config.model_type) return family.layer;
  }
  fail(weights.place + "/config.json", "got model_type '{}', expected qwen3, qwen2 or llama",
       weights.config.model_type);
}

// Takes the new positions back unless the pass ends well.
class Extension {
 public:
  explicit Extension(std::span<const Chunk> chunks) : chunks_(chunks) {}
  void extend() {
    for (; done_ < chunks_.size(); ++done_) {
      static_cast<CpuSegment*>(chunks_[done_].segment)
          ->extend(static_cast<std::int64_t>(chunks_[done_].tokens.size()));
    }
  }
  ~Extension() {
    if (!keep_) {
      // Children before parents.
      for (std::size_t i = done_; i-- > 0;) {
        KvSegment& segment = *chunks_[i].segment;
        segment.truncate(segment.end() - static_cast<std::int64_t>(chunks_[i].tokens.size()));
      }
    }
  }
  Extension(const Extension&) = delete;
  Extension& operator=(const Extension&) = delete;
  void keep() { keep_ = true; }

 private:
  std::span<const Chunk> chunks_;
  std::size_t done_ = 0;
  bool keep_ = false;
};

}  // namespace

CpuModel::CpuModel(std::unique_ptr<ModelWeights> weights, ThreadPool& pool, Precision precision,
                   KvBits kv_bits)
    : weights_(std::move(weights)),
      pool_(pool),
      precision_(precision),
      kv_bits_(kv_bits),
      layer_(layer_function(*weights_)),
      rope_(weights_->config.rope, weights_->config.head_dim),
      scratch_(pool.threads()),
      block_logits_(static_cast<std::size_t>(pool.threads())) {}

std::shared_ptr<KvSegment> CpuModel::new_segment(std::shared_ptr<const KvSegment> parent,
                                                 std::int64_t capacity_tokens) {
  auto own = std::dynamic_pointer_cast<const CpuSegment>(parent);
  QX_CHECK(parent == nullptr || own != nullptr);
  const ModelConfig& c = weights_->config;
  return std::make_shared<CpuSegment>(
      std::move(own), KvShape{c.num_hidden_layers, c.num_key_value_heads, c.head_dim, kv_bits_},
      capacity_tokens);
}

void CpuModel::check_chunks(std::span<const Chunk> chunks) const {
  std::vector<const KvSegment*> segments;
  for (const Chunk& chunk : chunks) segments.push_back(chunk.segment);
  std::sort(segments.begin(), segments.end());
  QX_CHECK(std::adjacent_find(segments.begin(), segments.end()) == segments.end());
  for (const Chunk& chunk : chunks) {
    const auto* segment = dynamic_cast<const CpuSegment*>(chunk.segment);
    QX_CHECK(segment != nullptr);
    const auto count = static_cast<std::int64_t>(chunk.tokens.size());
    if (count > segment->capacity() - segment->length()) {
      fail(weights_->place, "got {} tokens more for {} of {} positions, expected no more than fit",
           count, segment->length(), segment->capacity());
    }
    for (const TokenId token : chunk.tokens) {
      if (token < 0 || token >= weights_->config.vocab_size) {
        fail(weights_->place, "got token id {}, expected 0 to {} (the model's vocab_size is {})",
             token, weights_->config.vocab_size - 1, weights_->config.vocab_size);
      }
    }
    std::int32_t last = -1;
    for (const std::int32_t output : chunk.outputs) {
      QX_CHECK(output > last && output < count);
      last = output;
    }
  }
}

Hidden CpuModel::forward(std::span<const Chunk> chunks) {
  check_chunks(chunks);
  Extension extension(chunks);
  extension.extend();
  std::int64_t longest = 0;
  for (const Chunk& chunk : chunks) longest = std::max(longest, chunk.segment->end());
  rope_.reserve(longest);

  Pass pass(*weights_, precision_, chunks, pool_, scratch_, rope_, observer_);
  pass.embed();
  for (std::size_t layer = 0; layer < weights_->layers.size(); ++layer) {
    check_interrupt();
    pass.begin_layer(static_cast<std::int64_t>(layer));
    layer_(pass, weights_->layers[layer]);
  }
  Hidden hidden = pass.finish(weights_->norm);
  extension.keep();
  return hidden;
}

void CpuModel::fail_not_finite(std::int64_t row) const {
  fail(weights_->place,
       "got logits that are not finite (output {}), expected finite ones; the weights hold NaN, "
       "infinite or far too large values",
       row);
}

void CpuModel::multiply_head(const float* rows, std::int64_t count, std::span<float> out) {
  const WeightRows& head = weights_->head.rows;
  QX_CHECK(static_cast<std::int64_t>(out.size()) == count * head.rows);
  for (BlockScratch::Worker& w : scratch_.per_worker) {
    w.decode.reserve(linear_scratch_floats(head.cols));
  }
  head_input_.prepare(pool_, precision_, rows, count, head.cols, {&weights_->head});
  for_each_tile(pool_, count, head.rows, [&](const TileRange& t, int worker) {
    head_input_.multiply(weights_->head, t, out.data() + t.m_begin * head.rows + t.n_begin,
                         head.rows,
                         scratch_.per_worker[static_cast<std::size_t>(worker)].decode.data());
  });
}

void CpuModel::logits(std::span<const float> hidden_row, std::span<float> out) {
  QX_CHECK(static_cast<std::int64_t>(hidden_row.size()) == weights_->head.rows.cols);
  multiply_head(hidden_row.data(), 1, out);
  for (const float v : out) {
    if (!std::isfinite(v)) fail_not_finite(0);
  }
}

void CpuModel::logits_rows(const Hidden& hidden, std::int64_t first, std::int64_t count,
                           std::span<float> out) {
  QX_CHECK(hidden.width == weights_->head.rows.cols);
  QX_CHECK(first >= 0 && count >= 0 && first + count <= hidden.rows);
  if (count > 0) multiply_head(hidden.values.data() + first * hidden.width, count, out);
}

void CpuModel::score_rows(const Hidden& hidden, std::int64_t first, std::int64_t count,
                          std::span<const TokenId> targets, std::vector<TokenScore>& out) {
  const WeightRows& head = weights_->head.rows;
  const std::int64_t blocks = (head.rows + kScoreBlock - 1) / kScoreBlock;
  std::vector<BlockSum> sums(static_cast<std::size_t>(blocks * count));
  std::vector<float> picked(static_cast<std::size_t>(count));
  head_input_.prepare(pool_, precision_, hidden.values.data() + first * hidden.width, count,
                      hidden.width, {&weights_->head});

  const auto sum_block = [&](std::int64_t block, std::size_t worker) {
    const std::int64_t begin = block * kScoreBlock;
    const std::int64_t size = std::min(kScoreBlock, head.rows - begin);
    float* logits = block_logits_[worker].reserve(kScoreRows * kScoreBlock);
    float* decode = scratch_.per_worker[worker].decode.data();
    head_input_.multiply(weights_->head, {0, count, begin, begin + size}, logits, kScoreBlock,
                         decode);
    for (std::int64_t m = 0; m < count; ++m) {
      const float* row = logits + m * kScoreBlock;
      BlockSum& sum = sums[static_cast<std::size_t>(m * blocks + block)];
      kernels().max_index(row, size, &sum.max, &sum.index);
      sum.sum = kernels().sum_exp(row, size, sum.max);
      sum.index += begin;
      const std::int64_t target = targets[static_cast<std::size_t>(first + m)] - begin;
      if (target >= 0 && target < size) picked[static_cast<std::size_t>(m)] = row[target];
    }
  };
  pool_.parallel_for(static_cast<std::size_t>(blocks), 1,
                     [&](std::size_t begin, std::size_t end, int worker) {
                       for (std::size_t b = begin; b < end; ++b) {
                         sum_block(static_cast<std::int64_t>(b), static_cast<std::size_t>(worker));
                       }
                     });

  for (std::int64_t m = 0; m < count; ++m) {
    const BlockSum* row = sums.data() + m * blocks;
    const BlockSum* best = row;
    for (std::int64_t b = 1; b < blocks; ++b) {
      if (row[b].max > best->max) best = row + b;
    }
    double total = 0;
    for (std::int64_t b = 0; b < blocks; ++b) {
      total +=
          row[b].sum * std::exp(static_cast<double>(row[b].max) - static_cast<double>(best->max));
    }
    const double logprob = static_cast<double>(picked[static_cast<std::size_t>(m)]) -
                           static_cast<double>(best->max) - std::log(total);
    if (!std::isfinite(logprob) || !std::isfinite(total)) fail_not_finite(first + m);
    out.push_back({logprob, static_cast<TokenId>(best->index)});
  }
}

std::vector<TokenScore> CpuModel::score(const Hidden& hidden, std::span<const TokenId> targets) {
  QX_CHECK(static_cast<std::int64_t>(targets.size()) == hidden.rows);
  QX_CHECK(hidden.rows == 0 || hidden.width == weights_->head.rows.cols);
  for (const TokenId target : targets) {
    if (target < 0 || target >= weights_->config.vocab_size) {
      fail(weights_->place, "got token id {}, expected 0 to {} (the model's vocab_size is {})",
           target, weights_->config.vocab_size - 1, weights_->config.vocab_size);
    }
  }
  for (BlockScratch::Worker& w : scratch_.per_worker) {
    w.decode.reserve(linear_scratch_floats(weights_->head.rows.cols));
  }
  std::vector<TokenScore> out;
  out.reserve(targets.size());
  for (std::int64_t first = 0; first < hidden.rows; first += kScoreRows) {
    check_interrupt();
    score_rows(hidden, first, std::min(kScoreRows, hidden.rows - first), targets, out);
  }
  return out;
}

std::string_view precision_name(Precision precision) {
  switch (precision) {
    case Precision::kReference:
      return "reference";
    case Precision::kExact:
      return "exact";
    case Precision::kFast:
      return "fast";
  }
  return "";
}

std::unique_ptr<Model> make_cpu_model(std::unique_ptr<ModelWeights> weights, ThreadPool& pool,
                                      Precision precision, KvBits kv_bits) {
  return std::make_unique<CpuModel>(std::move(weights), pool, precision, kv_bits);
}

std::unique_ptr<Model> load_model(const std::filesystem::path& directory, ThreadPool& pool,
                                  Precision precision, KvBits kv_bits) {
  return make_cpu_model(load_weights(directory), pool, precision, kv_bits);
}

}  // namespace qx
