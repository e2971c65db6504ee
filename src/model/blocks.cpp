// SPDX-License-Identifier: Apache-2.0
#include "model/blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace qx {
namespace {

// Below this many multiply-adds, waking other threads costs more than it saves.
constexpr std::int64_t kInlineWork = std::int64_t{1} << 15;
// Attention works on this many rows at a time and this many keys: 32 KB of them for a head of 64.
constexpr std::int64_t kAttentionRows = 16;
constexpr std::int64_t kAttentionKeys = 128;

std::int64_t blocks(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

}  // namespace

Pass::Pass(const ModelWeights& weights, Precision precision, std::span<const Chunk> chunks,
           ThreadPool& pool, Scratch& scratch, const RopeTable& rope)
    : weights_(weights),
      config_(weights.config),
      kernels_(kernels()),
      precision_(precision),
      chunks_(chunks),
      pool_(pool),
      scratch_(scratch),
      rope_(rope),
      hidden_(config_.hidden_size),
      q_width_(config_.num_attention_heads * config_.head_dim),
      kv_width_(config_.num_key_value_heads * config_.head_dim) {
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    Chain& chain = chains_.emplace_back();
    chain.own = static_cast<CpuSegment*>(chunks[c].segment);
    for (const CpuSegment* s = chain.own; s != nullptr; s = s->parent()) {
      chain.segments.push_back(s);
    }
    std::reverse(chain.segments.begin(), chain.segments.end());
    const std::int64_t end = chain.own->end();
    const auto count = static_cast<std::int64_t>(chunks[c].tokens.size());
    for (std::int64_t p = end - count; p < end; ++p) places_.push_back({c, p});
    longest_ = std::max(longest_, end);
  }
  scratch_.x.reserve(rows() * hidden_);
  scratch_.normed.reserve(rows() * hidden_);
  scratch_.q.reserve(rows() * q_width_);
  scratch_.attended.reserve(rows() * q_width_);
  scratch_.k.reserve(rows() * kv_width_);
  scratch_.v.reserve(rows() * kv_width_);
  scratch_.gate.reserve(rows() * config_.intermediate_size);
  const std::int64_t widest = std::max({hidden_, q_width_, config_.intermediate_size});
  for (Scratch::Worker& worker : scratch_.per_worker) {
    worker.decode.reserve(linear_scratch_floats(widest));
    worker.tile.reserve(std::min(rows(), kTileRows) * kTileOutputs);
    worker.scores.reserve(std::min(rows(), kAttentionRows) * longest_);
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
  const std::int64_t d = config_.head_dim;
  const auto bytes = static_cast<std::size_t>(d) * sizeof(float);
  for (std::int64_t m = 0; m < rows(); ++m) {
    const Place& place = places_[static_cast<std::size_t>(m)];
    CpuSegment& segment = *chains_[place.chunk].own;
    const std::int64_t slot = (place.position - segment.begin()) * d;
    for (std::int64_t h = 0; h < config_.num_key_value_heads; ++h) {
      const std::int64_t from = m * kv_width_ + h * d;
      std::memcpy(segment.keys(layer_, h) + slot, scratch_.k.data() + from, bytes);
      std::memcpy(segment.values(layer_, h) + slot, scratch_.v.data() + from, bytes);
    }
  }
}

void Pass::drop_finished_rows() {
  if (layer_ + 1 != config_.num_hidden_layers) return;
  std::vector<Place> kept;
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

std::vector<Pass::RowBlock> Pass::attention_blocks() const {
  std::vector<RowBlock> blocks;
  for (std::int64_t m = 0; m < rows(); ++m) {
    const bool joins = !blocks.empty() && m - blocks.back().begin < kAttentionRows &&
                       places_[static_cast<std::size_t>(m)].chunk ==
                           places_[static_cast<std::size_t>(blocks.back().begin)].chunk;
    if (!joins) blocks.push_back({m, m});
    blocks.back().end = m + 1;
  }
  return blocks;
}

void Pass::attend_block(const RowBlock& block, std::int64_t head, FloatBuffer& scratch) {
  const std::int64_t d = config_.head_dim;
  const std::int64_t kv_head = head / (config_.num_attention_heads / config_.num_key_value_heads);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
  const auto place = [&](std::int64_t m) -> const Place& {
    return places_[static_cast<std::size_t>(m)];
  };
  const auto scores = [&](std::int64_t m) { return scratch.data() + (m - block.begin) * longest_; };
  // body(segment, its first key, number of keys, index of that key in the sequence, row): every row
  // meets the keys it may see in rising order, in pieces that several rows use one after the other.
  const auto for_each_piece = [&](const auto& body) {
    std::int64_t before = 0;  // positions in earlier segments
    for (const CpuSegment* s : chains_[place(block.begin).chunk].segments) {
      for (std::int64_t key = 0; key < s->length(); key += kAttentionKeys) {
        const std::int64_t stop = std::min(s->length(), key + kAttentionKeys);
        for (std::int64_t m = block.begin; m < block.end; ++m) {
          const std::int64_t count = std::min(stop, place(m).position + 1 - before) - key;
          if (count > 0) body(*s, key, count, before + key, m);
        }
      }
      before += s->length();
    }
  };

  for_each_piece([&](const CpuSegment& s, std::int64_t key, std::int64_t count, std::int64_t index,
                     std::int64_t m) {
    kernels_.attention_scores(scratch_.q.data() + m * q_width_ + head * d,
                              s.keys(layer_, kv_head) + key * d, d, count, d, scale,
                              scores(m) + index);
  });
  // One softmax over the whole chain: where it is cut into segments changes no bit.
  float sums[kAttentionRows];
  for (std::int64_t m = block.begin; m < block.end; ++m) {
    sums[m - block.begin] = kernels_.softmax_unnormalized(scores(m), place(m).position + 1);
    std::fill_n(scratch_.attended.data() + m * q_width_ + head * d, d, 0.0f);
  }
  for_each_piece([&](const CpuSegment& s, std::int64_t key, std::int64_t count, std::int64_t index,
                     std::int64_t m) {
    kernels_.attention_values(scores(m) + index, s.values(layer_, kv_head) + key * d, d, count, d,
                              scratch_.attended.data() + m * q_width_ + head * d);
  });
  for (std::int64_t m = block.begin; m < block.end; ++m) {
    float* out = scratch_.attended.data() + m * q_width_ + head * d;
    const float inverse = 1.0f / sums[m - block.begin];
    for (std::int64_t i = 0; i < d; ++i) out[i] *= inverse;
  }
}

void Pass::attend() {
  // Head by head, so that the threads share one head's keys and values in their caches.
  const std::vector<RowBlock> blocks = attention_blocks();
  const auto count = static_cast<std::int64_t>(blocks.size());
  const std::int64_t work = 2 * longest_ * config_.head_dim * std::min(rows(), kAttentionRows);
  for_rows(count * config_.num_attention_heads, work,
           [&](std::int64_t begin, std::int64_t end, int worker) {
             FloatBuffer& scores = scratch_.per_worker[static_cast<std::size_t>(worker)].scores;
             for (std::int64_t i = begin; i < end; ++i) {
               attend_block(blocks[static_cast<std::size_t>(i % count)], i / count, scores);
             }
           });
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
  add_linear(scratch_.attended.data(), o);
}

void Pass::add_mlp(const Linear& gate, const Linear& up, const Linear& down) {
  const std::int64_t width = config_.intermediate_size;
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
  add_linear(scratch_.gate.data(), down);
}

Hidden Pass::finish(const std::vector<float>& norm) {
  rms_norm(norm);
  Hidden hidden;
  hidden.rows = rows();
  hidden.width = hidden_;
  const float* values = scratch_.normed.data();
  hidden.values.assign(values, values + rows() * hidden_);
  return hidden;
}

}  // namespace qx
