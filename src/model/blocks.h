// The shared pieces of a decoder layer on the CPU, which the family files (qwen3.cpp, ..) put
// together. All tokens of all chunks of one forward pass are rows of one matrix; every operation
// works on whole rows and computes each of them in the same order whatever the others are.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/api.h"
#include "model/attention.h"
#include "model/buffer.h"
#include "model/input_observer.h"
#include "model/linear_input.h"
#include "model/model.h"
#include "model/rope.h"
#include "model/weights.h"

namespace qx {

// Memory that forward passes reuse.
struct BlockScratch {
  explicit BlockScratch(int threads)
      : per_worker(static_cast<std::size_t>(threads)),
        attention(static_cast<std::size_t>(threads)) {}
  FloatBuffer x, normed, q, k, v, attended, gate;
  LinearInput input;  // of the linear layers at hand
  struct Worker {
    FloatBuffer decode, tile;
  };
  std::vector<Worker> per_worker;
  std::vector<AttentionScratch> attention;  // per worker
};

// One forward pass: its rows and what the current layer has computed of them.
class Pass {
 public:
  // The segments have been extended already; chunk c's rows are its newest positions.
  Pass(const ModelWeights& weights, Precision precision, std::span<const Chunk> chunks,
       ThreadPool& pool, BlockScratch& scratch, const RopeTable& rope,
       InputObserver* observer = nullptr);

  void embed();
  void begin_layer(std::int64_t layer) { layer_ = layer; }

  // --- the vocabulary of the family files, in the order of a layer ---
  void rms_norm(const std::vector<float>& weight);  // normed = norm(x)
  void project_qkv(const Linear& q, const Linear& k, const Linear& v);
  void norm_heads(const std::vector<float>& q_weight, const std::vector<float>& k_weight);
  void rotate();    // q and k
  void store_kv();  // appends k and v to the segments
  // In the last layer, keys and values are all that rows without an output are needed for.
  void drop_finished_rows();
  void attend();                     // attended = softmax(q k^T / sqrt(head_dim)) v over the chain
  void add_output(const Linear& o);  // x += o(attended)
  void add_mlp(const Linear& gate, const Linear& up, const Linear& down);  // of normed

  std::int64_t rows() const { return static_cast<std::int64_t>(places_.size()); }
  // Final norm of the remaining rows, in the order of the chunks' outputs.
  Hidden finish(const std::vector<float>& norm);

 private:
  void add_linear(const float* in, const Linear& linear);
  void show(LinearInputKind kind, const float* rows, std::int64_t width) const {
    if (observer_ != nullptr) observer_->observe({kind, layer_}, rows, this->rows(), width);
  }
  // A tile of a product with the prepared input.
  void product(const Linear& linear, const TileRange& t, float* out, std::int64_t out_stride,
               int worker);
  // body(begin, end) over [0, count), on the pool when `work` multiply-adds each are worth it.
  void for_rows(std::int64_t count, std::int64_t work,
                const std::function<void(std::int64_t, std::int64_t, int)>& body);

  const ModelWeights& weights_;
  const ModelConfig& config_;
  const KernelTable& kernels_;
  const Precision precision_;
  std::span<const Chunk> chunks_;
  ThreadPool& pool_;
  BlockScratch& scratch_;
  const RopeTable& rope_;
  InputObserver* const observer_;  // or null
  std::vector<KvChain> chains_;
  std::vector<RowPlace> places_;
  std::int64_t layer_ = 0, hidden_ = 0, q_width_ = 0, kv_width_ = 0;
};

// How the layers of one family are put together: <model_type>.cpp.
void qwen3_layer(Pass& pass, const LayerWeights& w);
void qwen2_layer(Pass& pass, const LayerWeights& w);
void llama_layer(Pass& pass, const LayerWeights& w);

}  // namespace qx
