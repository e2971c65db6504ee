// Keys and values in float32 of the CPU backend: one run of positions, chained to its parent.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/buffer.h"
#include "model/model.h"

namespace qx {

struct KvShape {
  std::int64_t layers = 0, kv_heads = 0, head_dim = 0;
};

// Layout: per layer, keys [kv_heads, reserved, head_dim], then values alike, reserved >= length.
// Memory is taken as positions are appended, doubling up to the capacity, so that the many short
// segments of an evaluation stay cheap.
class CpuSegment final : public KvSegment {
 public:
  CpuSegment(std::shared_ptr<const CpuSegment> parent, KvShape shape, std::int64_t capacity_tokens);
  ~CpuSegment() override;
  CpuSegment(const CpuSegment&) = delete;
  CpuSegment& operator=(const CpuSegment&) = delete;

  std::int64_t begin() const override { return parent_ ? parent_->end() : 0; }
  std::int64_t end() const override { return begin() + length_; }
  void truncate(std::int64_t end) override;

  const CpuSegment* parent() const { return parent_.get(); }
  std::int64_t length() const { return length_; }
  std::int64_t capacity() const { return capacity_; }

  // Adds room for `count` positions; their keys and values are then written through keys() and
  // values(). Fails: a broken invariant when a child with positions exists.
  void extend(std::int64_t count);

  // Row of the first own position of one layer and head; rows are head_dim apart.
  float* keys(std::int64_t layer, std::int64_t kv_head) { return row(layer, kv_head); }
  float* values(std::int64_t layer, std::int64_t kv_head) {
    return row(layer, shape_.kv_heads + kv_head);
  }
  const float* keys(std::int64_t layer, std::int64_t kv_head) const { return row(layer, kv_head); }
  const float* values(std::int64_t layer, std::int64_t kv_head) const {
    return row(layer, shape_.kv_heads + kv_head);
  }

 private:
  struct Layer {
    FloatBuffer block;
    std::int64_t reserved = 0;  // positions
  };
  float* row(std::int64_t layer, std::int64_t plane) {
    Layer& l = layers_[static_cast<std::size_t>(layer)];
    return l.block.data() + plane * l.reserved * shape_.head_dim;
  }
  const float* row(std::int64_t layer, std::int64_t plane) const {
    const Layer& l = layers_[static_cast<std::size_t>(layer)];
    return l.block.data() + plane * l.reserved * shape_.head_dim;
  }
  void grow(Layer& layer, std::int64_t needed) const;
  void set_length(std::int64_t length);

  std::shared_ptr<const CpuSegment> parent_;
  KvShape shape_;
  std::int64_t capacity_ = 0, length_ = 0;
  mutable int filled_children_ = 0;  // children that hold positions
  std::vector<Layer> layers_;
};

}  // namespace qx
