// SPDX-License-Identifier: Apache-2.0
#include "model/blocks.h"

#include <algorithm>

#include "base/error.h"

namespace qx {
namespace {

// Below this many multiply-adds, waking other threads costs more than it saves.
constexpr std::int64_t kInlineWork = std::int64_t{1} << 15;

std::int64_t blocks(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

}  // namespace

Pass::Pass(const ModelWeights& weights, Precision precision, std::span<const Chunk> chunks,
           ThreadPool& pool, BlockScratch& scratch, const RopeTable& rope, InputObserver* observer)
    : weights_(weights),
      config_(weights.config),
      kernels_(kernels()),
      precision_(precision),
      chunks_(chunks),
      pool_(pool),
      scratch_(scratch),
      rope_(rope),
      observer_(observer),
      hidden_(config_.hidden_size),
      q_width_(config_.num_attention_heads * config_.head_dim),
      kv_width_(config_.num_key_value_heads * config_.head_dim) {
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    chains_.emplace_back(static_cast<CpuSegment*>(chunks[c].segment));
    const std::int64_t end = chains_.back().own->end();
    const auto count = static_cast<std::int64_t>(chunks[c].tokens.size());
    for (std::int64_t p = end - count; p < end; ++p) places_.push_back({c, p});
  }
  scratch_.x.reserve(rows() * hidden_);
  scratch_.normed.reserve(rows() * hidden_);
  scratch_.q.reserve(rows() * q_width_);
  scratch_.attended.reserve(rows() * q_width_);
  scratch_.k.reserve(rows() * kv_width_);
  scratch_.v.reserve(rows() * kv_width_);
  scratch_.gate.reserve(rows() * config_.intermediate_size);
  const std::int64_t widest = std::max({hidden_, q_width_, config_.intermediate_size});
  for (BlockScratch::Worker& worker : scratch_.per_worker) {
    worker.decode.reserve(linear_scratch_floats(widest));
    worker.tile.reserve(std::min(rows(), kTileRows) * kTileOutputs);
  }
}

void Pass::for_rows(std::int64_t count, std::int64_t work,
                    const std::function<void(std::int64_t, std::int64_t, int)>& body) {
  if (count * work <= kInlineWork) {
    if (count > 0) body(0, count, 0);
    return;
  }
  const std::int64_t grain =
      std::max<std::int64_t>(1, kInlineWork / 2 / std::max<std::int64_t>(work, 1));
  pool_.parallel_for(static_cast<std::size_t>(count), static_cast<std::size_t>(grain),
                     [&](std::size_t begin, std::size_t end, int worker) {
                       body(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end),
                            worker);
                     });
}

void Pass::embed() {
  std::vector<TokenId> tokens;
  tokens.reserve(places_.size());
  for (const Chunk& chunk : chunks_) {
    tokens.insert(tokens.end(), chunk.tokens.begin(), chunk.tokens.end());
  }
  for_rows(rows(), hidden_, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t m = begin; m < end; ++m) {
      kernels_.decode_row(weights_.embedding.rows, tokens[static_cast<std::size_t>(m)], 0, hidden_,
                          scratch_.x.data() + m * hidden_);
    }
  });
}

void Pass::rms_norm(const std::vector<float>& weight) {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  for_rows(rows(), 2 * hidden_, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t m = begin; m < end; ++m) {
      kernels_.rms_norm(scratch_.x.data() + m * hidden_, weight.data(), hidden_, eps,
                        scratch_.normed.data() + m * hidden_);
    }
  });
}

void Pass::product(const Linear& linear, const TileRange& t, float* out, std::int64_t out_stride,
                   int worker) {
  scratch_.input.multiply(linear, t, out, out_stride,
                          scratch_.per_worker[static_cast<std::size_t>(worker)].decode.data());
}

void Pass::project_qkv(const Linear& q, const Linear& k, const Linear& v) {
  struct Job {
    const Linear* linear;
    float* out;
    std::int64_t first;  // column in a matrix that has all three, each from a fresh tile
  };
  show(LinearInputKind::kQkv, scratch_.normed.data(), hidden_);
  const std::int64_t q_padded = blocks(q_width_, kTileOutputs) * kTileOutputs;
  const std::int64_t kv_padded = blocks(kv_width_, kTileOutputs) * kTileOutputs;
  const Job jobs[] = {{&q, scratch_.q.data(), 0},
                      {&k, scratch_.k.data(), q_padded},
                      {&v, scratch_.v.data(), q_padded + kv_padded}};
  scratch_.input.prepare(pool_, precision_, scratch_.normed.data(), rows(), hidden_, {&q, &k, &v});
  for_each_tile(pool_, rows(), q_padded + 2 * kv_padded, [&](const TileRange& t, int worker) {
    const Job& job = t.n_begin < jobs[1].first   ? jobs[0]
                     : t.n_begin < jobs[2].first ? jobs[1]
                                                 : jobs[2];
    const std::int64_t width = job.linear->rows.rows;
    const std::int64_t n = t.n_begin - job.first;
    const TileRange own{t.m_begin, t.m_end, n, std::min(width, n + kTileOutputs)};
    product(*job.linear, own, job.out + t.m_begin * width + n, width, worker);
  });
}

void Pass::norm_heads(const std::vector<float>& q_weight, const std::vector<float>& k_weight) {
  const std::int64_t d = config_.head_dim;
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  for_rows(rows(), 2 * (q_width_ + kv_width_), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t m = begin; m < end; ++m) {
      float* q = scratch_.q.data() + m * q_width_;
      float* k = scratch_.k.data() + m * kv_width_;
      for (std::int64_t i = 0; i < q_width_; i += d) {
        kernels_.rms_norm(q + i, q_weight.data(), d, eps, q + i);
      }
      for (std::int64_t i = 0; i < kv_width_; i += d) {
        kernels_.rms_norm(k + i, k_weight.data(), d, eps, k + i);
      }
    }
  });
}

void Pass::rotate() {
  const std::int64_t d = config_.head_dim;
  for_rows(rows(), q_width_ + kv_width_, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t m = begin; m < end; ++m) {
      const std::int64_t position = places_[static_cast<std::size_t>(m)].position;
      const float* cosine = rope_.cosine(position);
      const float* sine = rope_.sine(position);
      float* q = scratch_.q.data() + m * q_width_;
      float* k = scratch_.k.data() + m * kv_width_;
      for (std::int64_t i = 0; i < q_width_; i += d) kernels_.rope(q + i, cosine, sine, d);
      for (std::int64_t i = 0; i < kv_width_; i += d) kernels_.rope(k + i, cosine, sine, d);
    }
  });
}

void Pass::store_kv() {
  // Blocks of 16 rows, head by head: neighbours' keys share cache lines.
  const std::int64_t d = config_.head_dim;
  const auto store = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t h = 0; h < config_.num_key_value_heads; ++h) {
      for (std::int64_t m = begin; m < end; ++m) {
        const RowPlace& place = places_[static_cast<std::size_t>(m)];
        CpuSegment& segment = *chains_[place.chunk].own;
        const std::int64_t from = m * kv_width_ + h * d;
        segment.store(layer_, h, place.position - segment.begin(), scratch_.k.data() + from,
                      scratch_.v.data() + from);
      }
    }
  };
  for_rows(blocks(rows(), kKeyBlock), kKeyBlock * 8 * kv_width_,
           [&](std::int64_t begin, std::int64_t end, int) {
             for (std::int64_t b = begin; b < end; ++b) {
               store(b * kKeyBlock, std::min(rows(), (b + 1) * kKeyBlock));
             }
           });
}

void Pass::drop_finished_rows() {
  if (layer_ + 1 != config_.num_hidden_layers) return;
  std::vector<RowPlace> kept;
  std::int64_t first = 0;  // row of the chunk's first token
  for (const Chunk& chunk : chunks_) {
    for (const std::int32_t output : chunk.outputs) {
      const std::int64_t from = first + output;
      const auto to = static_cast<std::int64_t>(kept.size());
      kept.push_back(places_[static_cast<std::size_t>(from)]);
      if (from == to) continue;
      std::copy_n(scratch_.x.data() + from * hidden_, hidden_, scratch_.x.data() + to * hidden_);
      std::copy_n(scratch_.q.data() + from * q_width_, q_width_, scratch_.q.data() + to * q_width_);
    }
    first += static_cast<std::int64_t>(chunk.tokens.size());
  }
  places_ = std::move(kept);
}

void Pass::attend() {
  const AttentionJob job{.layer = layer_,
                         .heads = config_.num_attention_heads,
                         .kv_heads = config_.num_key_value_heads,
                         .head_dim = config_.head_dim,
                         .chains = chains_,
                         .rows = places_,
                         .q = scratch_.q.data(),
                         .out = scratch_.attended.data()};
  qx::attend(pool_, job, scratch_.attention);
}

void Pass::add_linear(const float* in, const Linear& linear) {
  const std::int64_t width = linear.rows.rows;
  scratch_.input.prepare(pool_, precision_, in, rows(), linear.rows.cols, {&linear});
  for_each_tile(pool_, rows(), width, [&](const TileRange& t, int worker) {
    float* tile = scratch_.per_worker[static_cast<std::size_t>(worker)].tile.data();
    product(linear, t, tile, kTileOutputs, worker);
    for (std::int64_t m = t.m_begin; m < t.m_end; ++m) {
      kernels_.add(scratch_.x.data() + m * width + t.n_begin, tile + (m - t.m_begin) * kTileOutputs,
                   t.n_end - t.n_begin);
    }
  });
}

void Pass::add_output(const Linear& o) {
  show(LinearInputKind::kO, scratch_.attended.data(), q_width_);
  add_linear(scratch_.attended.data(), o);
}

void Pass::add_mlp(const Linear& gate, const Linear& up, const Linear& down) {
  const std::int64_t width = config_.intermediate_size;
  show(LinearInputKind::kGateUp, scratch_.normed.data(), hidden_);
  scratch_.input.prepare(pool_, precision_, scratch_.normed.data(), rows(), hidden_, {&gate, &up});
  for_each_tile(pool_, rows(), width, [&](const TileRange& t, int worker) {
    float* tile = scratch_.per_worker[static_cast<std::size_t>(worker)].tile.data();
    float* out = scratch_.gate.data() + t.m_begin * width + t.n_begin;
    product(gate, t, out, width, worker);
    product(up, t, tile, kTileOutputs, worker);
    for (std::int64_t m = 0; m < t.m_end - t.m_begin; ++m) {
      kernels_.swiglu(out + m * width, tile + m * kTileOutputs, t.n_end - t.n_begin);
    }
  });
  show(LinearInputKind::kDown, scratch_.gate.data(), width);
  add_linear(scratch_.gate.data(), down);
}

Hidden Pass::finish(const std::vector<float>& norm) {
  rms_norm(norm);
  layer_ = -1;
  show(LinearInputKind::kFinal, scratch_.normed.data(), hidden_);
  Hidden hidden;
  hidden.rows = rows();
  hidden.width = hidden_;
  const float* values = scratch_.normed.data();
  hidden.values.assign(values, values + rows() * hidden_);
  return hidden;
}

}  // namespace qx
