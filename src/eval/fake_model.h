// A stand-in for a language model, for tests: the log-probability of a token is a hash of all tokens before it
// and of itself, so any mistake in packing, sharing or splitting changes a score. It checks its callers'
// promises as it goes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include "model/model.h"

namespace qx {

inline std::uint64_t mix_hash(std::uint64_t h) {
  h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ull;
  h = (h ^ (h >> 27)) * 0x94D049BB133111EBull;
  return h ^ (h >> 31);
}

class FakeSegment final : public KvSegment {
 public:
  FakeSegment(std::shared_ptr<const FakeSegment> parent, std::int64_t capacity, int* live)
      : parent_(std::move(parent)), capacity_(capacity), live_(live) {
    ++*live_;
  }
  ~FakeSegment() override { --*live_; }
  std::int64_t begin() const override { return parent_ ? parent_->end() : 0; }
  std::int64_t end() const override { return begin() + static_cast<std::int64_t>(hashes_.size()); }
  void truncate(std::int64_t end) override {
    hashes_.resize(static_cast<std::size_t>(end - begin()));
  }

  // Hash of all tokens up to and including the new one.
  std::uint64_t append(TokenId token) {
    if (parent_) {
      if (hashes_.empty()) parent_->has_children_ = true;
    }
    if (has_children_) throw std::logic_error("a segment with children must not grow");
    if (static_cast<std::int64_t>(hashes_.size()) == capacity_) throw std::logic_error("capacity");
    hashes_.push_back(
        mix_hash(last() * 0x9E3779B97F4A7C15ull + static_cast<std::uint64_t>(token) + 1));
    return hashes_.back();
  }
  std::uint64_t last() const {
    if (!hashes_.empty()) return hashes_.back();
    return parent_ ? parent_->last() : 7;
  }

 private:
  std::shared_ptr<const FakeSegment> parent_;
  std::int64_t capacity_;
  int* live_;
  std::vector<std::uint64_t> hashes_;
  mutable bool has_children_ = false;
};

class FakeModel final : public Model {
 public:
  explicit FakeModel(std::int64_t vocab_size = 50) {
    config_.vocab_size = vocab_size;
    config_.max_position_embeddings = 4096;
  }

  static double logprob(std::uint64_t prefix, TokenId target) {
    return -1e-3 -
           static_cast<double>(mix_hash(prefix + static_cast<std::uint64_t>(target)) >> 11) *
               0x1p-50;
  }
  TokenId best(std::uint64_t prefix) const {
    return static_cast<TokenId>(mix_hash(prefix ^ 99) %
                                static_cast<std::uint64_t>(config_.vocab_size));
  }

  const ModelConfig& config() const override { return config_; }
  std::string backend() const override { return "fake"; }

  std::shared_ptr<KvSegment> new_segment(std::shared_ptr<const KvSegment> parent,
                                         std::int64_t capacity_tokens) override {
    return std::make_shared<FakeSegment>(std::dynamic_pointer_cast<const FakeSegment>(parent),
                                         capacity_tokens, &live_segments);
  }

  Hidden forward(std::span<const Chunk> chunks) override {
    Hidden hidden{0, 3, {}};
    std::int64_t tokens = 0;
    std::vector<const KvSegment*> seen;
    for (const Chunk& chunk : chunks) {
      for (const KvSegment* other : seen) {
        if (other == chunk.segment) throw std::logic_error("a segment twice in a pass");
      }
      seen.push_back(chunk.segment);
      std::size_t next = 0;
      for (std::size_t i = 0; i < chunk.tokens.size(); ++i) {
        const std::uint64_t h = static_cast<FakeSegment*>(chunk.segment)->append(chunk.tokens[i]);
        if (next == chunk.outputs.size() || chunk.outputs[next] != static_cast<std::int32_t>(i))
          continue;
        ++next;
        ++hidden.rows;
        for (int part = 0; part < 3; ++part) {
          hidden.values.push_back(static_cast<float>((h >> (22 * part)) & 0x3FFFFF));
        }
      }
      if (next != chunk.outputs.size()) throw std::logic_error("outputs are not rising indices");
      tokens += static_cast<std::int64_t>(chunk.tokens.size());
    }
    ++passes;
    forwarded_tokens += tokens;
    largest_pass = std::max(largest_pass, tokens);
    largest_live = std::max(largest_live, live_segments);
    return hidden;
  }

  void logits(std::span<const float>, std::span<float>) override {
    throw std::logic_error("not used");
  }
  // In [0, 4), from all tokens before, the salt, and the token.
  float logit(std::uint64_t prefix, TokenId token) const {
    return static_cast<float>(mix_hash(prefix + salt * 77 + static_cast<std::uint64_t>(token)) >>
                              42) *
           0x1p-20f;
  }
  void logits_rows(const Hidden& hidden, std::int64_t first, std::int64_t count,
                   std::span<float> out) override {
    if (static_cast<std::int64_t>(out.size()) != count * config_.vocab_size) {
      throw std::logic_error("size of the logits");
    }
    auto next = out.begin();
    for (std::int64_t i = first; i < first + count; ++i) {
      for (TokenId token = 0; token < config_.vocab_size; ++token) {
        *next++ = broken_prefix && prefix_of(hidden, i) == *broken_prefix
                      ? std::numeric_limits<float>::quiet_NaN()
                      : logit(prefix_of(hidden, i), token);
      }
    }
  }
  static std::uint64_t prefix_of(const Hidden& hidden, std::int64_t row) {
    std::uint64_t h = 0;
    for (int part = 0; part < 3; ++part) {
      h |= static_cast<std::uint64_t>(hidden.row(row)[static_cast<std::size_t>(part)])
           << (22 * part);
    }
    return h;
  }

  std::vector<TokenScore> score(const Hidden& hidden, std::span<const TokenId> targets) override {
    std::vector<TokenScore> scores;
    for (std::int64_t i = 0; i < hidden.rows; ++i) {
      const std::uint64_t h = prefix_of(hidden, i);
      scores.push_back({logprob(h, targets[static_cast<std::size_t>(i)]), best(h)});
    }
    scored_rows += hidden.rows;
    return scores;
  }

  int live_segments = 0, largest_live = 0;
  std::uint64_t salt = 0;                      // of logits_rows: another model
  std::optional<std::uint64_t> broken_prefix;  // whose logits are NaN
  std::int64_t passes = 0, forwarded_tokens = 0, largest_pass = 0, scored_rows = 0;

 private:
  ModelConfig config_;
};

}  // namespace qx
