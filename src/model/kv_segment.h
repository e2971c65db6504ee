// Keys and values of the CPU backend: one run of positions, chained to its parent.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "model/model.h"

namespace qx {

struct KvShape {
  std::int64_t layers = 0, kv_heads = 0, head_dim = 0;
  KvBits bits = KvBits::k32;
};

// Positions whose keys lie side by side, one a lane (kernels/api.h, attention_scores).
constexpr std::int64_t kKeyBlock = 16;
// With 8 bits, this many elements of one key or value share a scale.
constexpr std::int64_t kKvGroup = 32;

// Layout: per layer and head, keys in blocks of 16 positions [reserved / 16, head_dim, 16], then
// values [reserved, head_dim]. Elements are float32; or IEEE half, rounded to nearest even, beyond
// the largest finite value that value; or int8 codes, followed by float32 scales, keys
// [reserved / 16, groups, 16] and values [reserved, groups]: scale = largest magnitude of the
// group / 127, code = element / scale rounded to nearest even. A group that holds NaN or infinity
// reads as NaN.
// Memory is taken as positions are appended, doubling up to the capacity, so that the many short
// segments of an evaluation stay cheap.
// Threads: store() of different positions or heads, and reading, may run at once.
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
  const KvShape& shape() const { return shape_; }
  std::int64_t reserved_bytes() const;

  // Adds room for `count` positions, which store() then fills. Fails: a broken invariant when a
  // child with positions exists.
  void extend(std::int64_t count);

  // Sets key and value, head_dim floats each, of own position `slot` (0 is the segment's first).
  void store(std::int64_t layer, std::int64_t kv_head, std::int64_t slot, const float* key,
             const float* value);

  // Own positions [first, first + count) as float32: keys in blocks of 16, where first is a
  // multiple of 16, and values in rows. Decoded into scratch, unless they are stored so and the
  // pointer leads to them; scratch holds count, rounded up to 16, times head_dim floats.
  const float* keys(std::int64_t layer, std::int64_t kv_head, std::int64_t first,
                    std::int64_t count, float* scratch) const;
  const float* values(std::int64_t layer, std::int64_t kv_head, std::int64_t first,
                      std::int64_t count, float* scratch) const;

 private:
  struct Layer {
    struct Free {
      void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
    };
    std::unique_ptr<std::byte[], Free> memory;
    std::int64_t reserved = 0;  // positions, a multiple of kKeyBlock
  };
  std::int64_t groups() const { return (shape_.head_dim + kKvGroup - 1) / kKvGroup; }
  std::int64_t element_bytes() const;
  std::int64_t scale_bytes() const;  // of one key or value
  std::int64_t plane_bytes(std::int64_t positions) const;
  // Plane 2 h holds head h's keys, 2 h + 1 its values.
  std::byte* plane(std::int64_t layer, std::int64_t index) const;
  float* scales(std::int64_t layer, std::int64_t index) const;
  void grow(Layer& layer, std::int64_t needed) const;
  void clear_lanes(std::int64_t needed);
  void set_length(std::int64_t length);

  std::shared_ptr<const CpuSegment> parent_;
  KvShape shape_;
  std::int64_t capacity_ = 0, length_ = 0;
  mutable int filled_children_ = 0;  // children that hold positions
  std::vector<Layer> layers_;
};

}  // namespace qx
