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

// Of one key or value: groups that have a scale and a bias (0 with 32 and 16 bits), and bytes of
// its elements.
std::int64_t kv_groups(const KvShape& shape);
std::int64_t kv_element_row_bytes(const KvShape& shape);

// Positions whose keys lie side by side, one a lane (kernels/api.h, attention_scores).
constexpr std::int64_t kKeyBlock = 16;
// With 8 and 4 bits, this many elements of one key or value share a scale and a bias (as in
// mlx-lm); the last group of a head may be shorter.
constexpr std::int64_t kKvGroup = 64;

// With 4 bits heads are kept rotated: an orthonormal Walsh-Hadamard transform of each group (of
// pieces of it whose sizes are powers of two, the largest first) spreads what single elements have
// over all, so that no large one takes the range of 63 others (QuaRot, arXiv 2404.00456, does it
// for the whole head). Whoever reads keys and values rotates queries alike, and the weighted sums
// of values back.
constexpr bool kv_rotated(KvBits bits) {
  return bits == KvBits::k4;
}
// In place, a head of n elements; its own inverse.
void rotate_head(float* head, std::int64_t n);

// Layout: per layer and head, keys in blocks of 16 positions [reserved / 16, head_dim, 16], then
// values [reserved, head_dim]. Elements are float32; or IEEE half, rounded to nearest even, beyond
// the largest finite value that value; or codes of 8 or 4 bits, followed by bfloat16 scales and
// biases (kernels/api.h, decode_keys and decode_values). An element reads as scale * code + bias,
// where
//   bias = the smallest element, rounded down
//   scale = (the largest - bias) / (2^bits - 1), rounded up, so that no element is beyond the codes
//   code = (element - bias) / scale, rounded to nearest even:
// off by half a scale at most. A group that holds NaN or infinity reads as NaN.
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

  // Own positions [first, first + count) as float32, rotated where kv_rotated(): keys in blocks of
  // 16, where first is a multiple of 16, and values in rows. Decoded into scratch, unless they are
  // stored so and the pointer leads to them; scratch holds count, rounded up to 16, times head_dim
  // floats.
  const float* keys(std::int64_t layer, std::int64_t kv_head, std::int64_t first,
                    std::int64_t count, float* scratch) const;
  const float* values(std::int64_t layer, std::int64_t kv_head, std::int64_t first,
                      std::int64_t count, float* scratch) const;

  // The exact contents of own positions [first, first + count) of a head's keys, or values, for a
  // file: elements in rows [count, kv_element_row_bytes()], float32 or half, or codes packed from
  // the lowest bit on; with 8 and 4 bits scales and biases [count, groups] in bfloat16, otherwise
  // none. elements are aligned to 4 bytes.
  struct Rows {
    std::byte* elements = nullptr;
    std::uint16_t* scales = nullptr;
    std::uint16_t* biases = nullptr;
  };
  void copy_rows(std::int64_t layer, std::int64_t kv_head, bool values, std::int64_t first,
                 std::int64_t count, const Rows& out) const;
  // The same back, into positions that extend() made room for.
  struct ConstRows {
    const std::byte* elements = nullptr;
    const std::uint16_t* scales = nullptr;
    const std::uint16_t* biases = nullptr;
  };
  void set_rows(std::int64_t layer, std::int64_t kv_head, bool values, std::int64_t first,
                std::int64_t count, const ConstRows& from);

 private:
  struct Layer {
    struct Free {
      void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
    };
    std::unique_ptr<std::byte[], Free> memory;
    std::int64_t reserved = 0;  // positions, a multiple of kKeyBlock
  };
  std::int64_t groups() const { return kv_groups(shape_); }
  std::int64_t row_bytes() const { return kv_element_row_bytes(shape_); }
  std::int64_t scale_bytes() const { return 4 * groups(); }  // of one key or value
  std::int64_t plane_bytes(std::int64_t positions) const;
  // Plane 2 h holds head h's keys, 2 h + 1 its values.
  std::byte* plane(std::int64_t layer, std::int64_t index) const;
  std::uint16_t* scales(std::int64_t layer, std::int64_t index) const;
  struct ScalePlace {
    std::int64_t scale, to_bias;
  };
  ScalePlace scale_place(bool values, std::int64_t position, std::int64_t group) const;
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
