// The one interface between a language model and everything that uses it (generation, scoring,
// serving, calibration). A backend implements it: the CPU here; a GPU library later.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/model_config.h"
#include "base/thread_pool.h"
#include "text/tokenizer.h"

namespace qx {

// The arithmetic of linear layers; everything else is float32 in each.
//   reference  float32 activations and accumulation
//   exact      affine weights: activations of 16 bits per group, integer sums, the few that are far
//              larger than their group in float32 (kernels/api.h, IntegerRows); float weights: as
//              reference
//   fast       affine weights: activations of 8 bits per group; bfloat16 weights: activations
//              rounded to bfloat16, products exact, float32 sums (kernels/api.h, linear_bf16);
//              other float weights: as reference, since rounding would change the weights
enum class Precision { kReference, kExact, kFast };
std::string_view precision_name(Precision precision);  // "reference", "exact", "fast"

// Bits of an element of the keys and values that a model keeps: float32, IEEE half, or unsigned
// codes with a scale and a bias for each 64 elements. What is computed with them is float32.
enum class KvBits { k4 = 4, k8 = 8, k16 = 16, k32 = 32 };

// Keys and values of a run of positions. A segment continues its parent, if any: position p of the
// sequence lies in the chain. Several children may share one parent, which must not grow once it
// has children.
class KvSegment {
 public:
  virtual ~KvSegment() = default;
  virtual std::int64_t begin() const = 0;       // first position: the parent's end
  virtual std::int64_t end() const = 0;         // one past the last filled position
  virtual void truncate(std::int64_t end) = 0;  // forget positions >= end (>= begin())
};

// Tokens to append to a segment in one forward pass, and which of them need an output.
struct Chunk {
  KvSegment* segment = nullptr;
  std::span<const TokenId> tokens;
  std::span<const std::int32_t> outputs;  // rising indices into tokens
};

// Final hidden states (after the last norm), one row per requested output, in the order of the
// chunks.
struct Hidden {
  std::int64_t rows = 0, width = 0;
  std::vector<float> values;  // [rows, width]
  std::span<const float> row(std::int64_t i) const {
    return {values.data() + i * width, static_cast<std::size_t>(width)};
  }
};

struct TokenScore {
  double logprob = 0;  // natural log of the softmax probability of the target
  TokenId best = 0;    // first index of the largest logit
};

// Determinism: every output element is computed in one order of operations whatever the batch, the
// packing, the split of a sequence over segments, and the number of threads. Threads: one caller at
// a time; work is spread over the pool given to load_model.
class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  virtual std::string backend() const = 0;  // "cpu"
  // What was odd about the files and did not prevent loading: config.json against the tensors.
  virtual std::span<const std::string> warnings() const { return {}; }

  // capacity_tokens: how many positions may be appended. parent may be null and is kept alive.
  virtual std::shared_ptr<KvSegment> new_segment(std::shared_ptr<const KvSegment> parent,
                                                 std::int64_t capacity_tokens) = 0;

  // Appends every chunk's tokens. A chunk's segment may be the child of a segment that an EARLIER
  // chunk of the same call appends to: the whole tree of an item can go in one pass. No segment
  // appears twice. Fails: Error when a token id is out of range or a position exceeds the segment's
  // capacity.
  virtual Hidden forward(std::span<const Chunk> chunks) = 0;

  // logits[v] for one hidden row; out has vocab_size elements.
  virtual void logits(std::span<const float> hidden_row, std::span<float> out) = 0;

  // The same for rows [first, first + count) together, as [count, vocab_size]: the bits of one row at
  // a time, at the speed of many. The values are not looked at: they may be NaN or infinite.
  virtual void logits_rows(const Hidden& hidden, std::int64_t first, std::int64_t count,
                           std::span<float> out) = 0;

  // Log-probability of one target per row, and the argmax, with the log-sum-exp streamed over
  // blocks of the vocabulary: never a matrix of all logits. targets.size() == hidden.rows.
  virtual std::vector<TokenScore> score(const Hidden& hidden, std::span<const TokenId> targets) = 0;
};

// Loads a model directory (float, or any mix of affine tensors), keeping weights in the mapped
// files. Every expected tensor is checked for dtype and shape; missing and unexpected ones are
// errors. The pool must outlive the model.
std::unique_ptr<Model> load_model(const std::filesystem::path& directory, ThreadPool& pool,
                                  Precision precision, KvBits kv_bits = KvBits::k32);

}  // namespace qx
