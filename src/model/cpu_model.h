// The CPU backend over the kernel table in use.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "model/blocks.h"
#include "model/model.h"
#include "model/weights.h"

namespace qx {

class CpuModel final : public Model {
 public:
  CpuModel(std::unique_ptr<ModelWeights> weights, ThreadPool& pool, Precision precision,
           KvBits kv_bits = KvBits::k32);

  const ModelConfig& config() const override { return weights_->config; }
  std::string backend() const override { return "cpu"; }
  std::span<const std::string> warnings() const override { return weights_->warnings; }

  std::shared_ptr<KvSegment> new_segment(std::shared_ptr<const KvSegment> parent,
                                         std::int64_t capacity_tokens) override;
  Hidden forward(std::span<const Chunk> chunks) override;
  void logits(std::span<const float> hidden_row, std::span<float> out) override;
  void logits_rows(const Hidden& hidden, std::int64_t first, std::int64_t count,
                   std::span<float> out) override;
  std::vector<TokenScore> score(const Hidden& hidden, std::span<const TokenId> targets) override;

  // Shown the input of every linear layer of later passes; null: nobody. It must outlive them.
  void set_observer(InputObserver* observer) { observer_ = observer; }

 private:
  using LayerFunction = void (*)(Pass&, const LayerWeights&);
  // Largest logit, its first index and the sum of exp(logit - max) of one row in one block.
  struct BlockSum {
    float max = 0;
    std::int64_t index = 0;
    double sum = 0;
  };
  void check_chunks(std::span<const Chunk> chunks) const;
  void score_rows(const Hidden& hidden, std::int64_t first, std::int64_t count,
                  std::span<const TokenId> targets, std::vector<TokenScore>& out);
  void multiply_head(const float* rows, std::int64_t count, std::span<float> out);
  [[noreturn]] void fail_not_finite(std::int64_t row) const;

  std::unique_ptr<ModelWeights> weights_;
  ThreadPool& pool_;
  Precision precision_;
  KvBits kv_bits_;
  LayerFunction layer_;
  InputObserver* observer_ = nullptr;
  RopeTable rope_;
  BlockScratch scratch_;
  LinearInput head_input_;
  std::vector<FloatBuffer> block_logits_;  // per worker
};

// The CPU backend over weights that are at hand: what load_model does once a directory is read.
std::unique_ptr<Model> make_cpu_model(std::unique_ptr<ModelWeights> weights, ThreadPool& pool,
                                      Precision precision, KvBits kv_bits = KvBits::k32);

}  // namespace qx
