// The backward pass: how a loss on the logits of a sequence changes with the output of every linear
// layer, and with every weight. Float32, over the kernels of the forward pass, for every family and
// every storage of weights that the forward pass takes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "arch/catalog.h"
#include "base/thread_pool.h"
#include "model/weights.h"
#include "text/tokenizer.h"

namespace qx {

// A matrix of the model: a linear layer (kAttentionQ .. kMlpDown), the head, or the embedding as a
// table that is looked up; layer is -1 for the last two.
struct MatrixPlace {
  Role role = Role::kHead;
  std::int64_t layer = -1;
  auto operator<=>(const MatrixPlace&) const = default;
};

// Where it lies in the weights. A tied head is the embedding's rows.
const Linear& linear_at(const ModelWeights& weights, MatrixPlace place);

// What one matrix did in a pass. All arrays are contiguous float32 and end with the call.
struct MatrixGradient {
  MatrixPlace place;
  std::int64_t rows = 0, in = 0, out = 0;  // rows: one a token
  // [rows, in]: what it multiplied. Null for the embedding, whose input are the tokens: in is 0,
  // out the hidden size.
  const float* inputs = nullptr;
  // [rows, out]: dL/dy of y = W x (before rotation and head norms, after the bias). For the
  // embedding, dL/dx of the rows that were looked up.
  const float* output_gradients = nullptr;
};

class GradientObserver {
 public:
  virtual ~GradientObserver() = default;

  // Every matrix once, from the head down to the embedding: head; then, layer by layer, down, gate,
  // up, o, q, k, v; embedding. On the thread that runs the pass while the pool is idle, so it may
  // use the pool. What it throws ends the pass.
  virtual void observe(const MatrixGradient& gradient) { static_cast<void>(gradient); }

  // Whether dL/dW of this matrix is wanted. A tied matrix is asked for as kEmbedding only, and gets
  // the sum of what it does as table and as head.
  virtual bool wants_weights(MatrixPlace place) {
    static_cast<void>(place);
    return false;
  }
  // dL/dW of rows [first, first + count), as [count, in], contiguous, valid during the call. Every
  // row of a wanted matrix comes once, all of one matrix before the next one's. On threads of the
  // pool, several at a time, worker in [0, pool.threads()): it must not use the pool, and may write
  // only what belongs to its rows or its worker.
  virtual void weight_rows(MatrixPlace place, std::int64_t first, std::int64_t count,
                           const float* values, int worker) {
    static_cast<void>(place), static_cast<void>(first), static_cast<void>(count);
    static_cast<void>(values), static_cast<void>(worker);
  }
};

// Gets the logits [tokens, vocab_size], of the position after each token, and replaces them by
// dL/dlogits. Returns L, in any unit: gradients are in L's. Called once a pass while the pool is
// idle, so it may use it.
using LossFunction = std::function<double(std::span<float> logits)>;

// Bytes that a pass over so many tokens takes beyond the weights, about.
std::int64_t gradient_pass_bytes(const ModelConfig& config, std::int64_t tokens);

// Memory beyond the weights: the logits (4 bytes x tokens x vocab_size), the input of every layer
// (4 x tokens x hidden_size each), and the activations of one layer, which are computed again on
// the way back.
// Every value is the same for any number of threads and any instruction set.
// Threads: one caller at a time.
class GradientPass {
 public:
  // Both must outlive it. The weights may be changed, or point elsewhere, between two passes.
  GradientPass(const ModelWeights& weights, ThreadPool& pool);
  ~GradientPass();
  GradientPass(const GradientPass&) = delete;
  GradientPass& operator=(const GradientPass&) = delete;

  // One sequence that begins at position 0. Returns the loss.
  // Fails: Error for no token or an id out of range, and for logits or a loss that are not finite.
  double run(std::span<const TokenId> tokens, const LossFunction& loss, GradientObserver& observer);

  // Forward only: the logits [tokens, vocab_size], which may be changed, and which end with the
  // next call of any kind. Fails: as run().
  std::span<float> forward(std::span<const TokenId> tokens);
  // Of the last run() or forward(): what went into a layer, [tokens, hidden_size]; after the last
  // layer, what went into the final norm.
  std::span<const float> layer_input(std::size_t layer) const;
  // Logits of a sequence of which layer_input(layer) is at hand: what a change in `layer` or after
  // it does, without the layers before.
  std::span<float> resume(std::size_t layer, std::span<const float> input);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qx
