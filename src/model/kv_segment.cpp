// SPDX-License-Identifier: Apache-2.0
#include "model/kv_segment.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/half.h"
#include "kernels/api.h"

namespace qx {
namespace {

std::int64_t whole_blocks(std::int64_t positions) {
  return (positions + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
}

// out[i * stride] = element i.
void put_f32(const float* x, std::int64_t n, std::int64_t stride, float* out) {
  if (stride == 1) {
    std::memcpy(out, x, static_cast<std::size_t>(n) * sizeof(float));
  } else {
    for (std::int64_t i = 0; i < n; ++i) out[i * stride] = x[i];
  }
}

void put_f16(const float* x, std::int64_t n, std::int64_t stride, std::uint16_t* out) {
  constexpr std::uint16_t kInfinity = 0x7C00, kSign = 0x8000;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint16_t half = f32_to_f16(x[i]);
    const bool overflow = (half & ~kSign) == kInfinity && std::isfinite(x[i]);
    out[i * stride] = static_cast<std::uint16_t>(half - (overflow ? 1 : 0));
  }
}

void put_i8(const float* x, std::int64_t n, std::int64_t stride, std::int8_t* codes,
            std::int64_t scale_stride, float* scales) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  for (std::int64_t begin = 0; begin < n; begin += kKvGroup) {
    const std::int64_t end = std::min(n, begin + kKvGroup);
    float largest = 0, poison = 0;  // NaN when an element is no number
    for (std::int64_t i = begin; i < end; ++i) {
      largest = std::max(largest, std::abs(x[i]));
      poison += 0.0f * x[i];
    }
    const float scale = largest / 127.0f;
    // A subnormal scale has no finite inverse; elements so small are nothing.
    const float inverse = scale >= std::numeric_limits<float>::min() ? 1.0f / scale : 0.0f;
    *scales = std::isnan(poison) ? poison : inverse == 0.0f ? 0.0f : scale;
    scales += scale_stride;
    for (std::int64_t i = begin; i < end; ++i) {
      const float rounded = x[i] * inverse + kRound;
      codes[i * stride] = static_cast<std::int8_t>(std::bit_cast<std::uint32_t>(rounded) & 0xFF);
    }
  }
}

}  // namespace

CpuSegment::CpuSegment(std::shared_ptr<const CpuSegment> parent, KvShape shape,
                       std::int64_t capacity_tokens)
    : parent_(std::move(parent)),
      shape_(shape),
      capacity_(capacity_tokens),
      layers_(static_cast<std::size_t>(shape.layers)) {
  QX_CHECK(capacity_tokens >= 0);
}

CpuSegment::~CpuSegment() {
  set_length(0);
}

void CpuSegment::set_length(std::int64_t length) {
  if (parent_ && (length_ > 0) != (length > 0)) parent_->filled_children_ += length > 0 ? 1 : -1;
  length_ = length;
}

void CpuSegment::truncate(std::int64_t end) {
  QX_CHECK(end >= begin() && end <= this->end());
  QX_CHECK(end == this->end() || filled_children_ == 0);
  set_length(end - begin());
}

std::int64_t CpuSegment::element_bytes() const {
  return shape_.bits == KvBits::k32 ? 4 : shape_.bits == KvBits::k16 ? 2 : 1;
}

std::int64_t CpuSegment::scale_bytes() const {
  return shape_.bits == KvBits::k8 ? 4 * groups() : 0;
}

std::int64_t CpuSegment::plane_bytes(std::int64_t positions) const {
  return positions * (shape_.head_dim * element_bytes() + scale_bytes());
}

std::int64_t CpuSegment::reserved_bytes() const {
  std::int64_t bytes = 0;
  for (const Layer& layer : layers_) bytes += 2 * shape_.kv_heads * plane_bytes(layer.reserved);
  return bytes;
}

std::byte* CpuSegment::plane(std::int64_t layer, std::int64_t index) const {
  const Layer& l = layers_[static_cast<std::size_t>(layer)];
  return l.memory.get() + index * plane_bytes(l.reserved);
}

float* CpuSegment::scales(std::int64_t layer, std::int64_t index) const {
  const std::int64_t reserved = layers_[static_cast<std::size_t>(layer)].reserved;
  return reinterpret_cast<float*>(plane(layer, index) + reserved * shape_.head_dim);
}

void CpuSegment::grow(Layer& layer, std::int64_t needed) const {
  const std::int64_t target =
      std::min(whole_blocks(capacity_), whole_blocks(std::max(needed, 2 * layer.reserved)));
  const std::int64_t planes = 2 * shape_.kv_heads, filled = whole_blocks(length_);
  const std::int64_t row = shape_.head_dim * element_bytes(), scale_row = scale_bytes();
  decltype(layer.memory) memory(static_cast<std::byte*>(::operator new (
      static_cast<std::size_t>(planes * plane_bytes(target)), std::align_val_t{64})));
  for (std::int64_t p = 0; p < planes && filled > 0; ++p) {
    std::byte* to = memory.get() + p * plane_bytes(target);
    const std::byte* from = layer.memory.get() + p * plane_bytes(layer.reserved);
    std::memcpy(to, from, static_cast<std::size_t>(filled * row));
    std::memcpy(to + target * row, from + layer.reserved * row,
                static_cast<std::size_t>(filled * scale_row));
  }
  layer.memory = std::move(memory);
  layer.reserved = target;
}

// Lanes of the last block of keys that no position fills are read, though never used; without this
// they would be memory that nothing has written.
void CpuSegment::clear_lanes(std::int64_t needed) {
  const std::int64_t last = needed / kKeyBlock * kKeyBlock;
  if (last == needed || last < length_) return;
  const std::int64_t row = shape_.head_dim * element_bytes();
  for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
    for (std::int64_t h = 0; h < shape_.kv_heads; ++h) {
      std::memset(plane(layer, 2 * h) + last * row, 0, static_cast<std::size_t>(kKeyBlock * row));
      if (shape_.bits != KvBits::k8) continue;
      std::fill_n(scales(layer, 2 * h) + last * groups(), kKeyBlock * groups(), 0.0f);
    }
  }
}

void CpuSegment::extend(std::int64_t count) {
  QX_CHECK(filled_children_ == 0 || count == 0);
  QX_CHECK(count >= 0 && count <= capacity_ - length_);
  const std::int64_t needed = length_ + count;
  // Layer by layer, each old block freed at once: never twice the whole in memory.
  for (Layer& layer : layers_) {
    if (needed > layer.reserved) grow(layer, needed);
  }
  clear_lanes(needed);
  set_length(needed);
}

void CpuSegment::store(std::int64_t layer, std::int64_t kv_head, std::int64_t slot,
                       const float* key, const float* value) {
  const std::int64_t d = shape_.head_dim;
  const std::int64_t block = slot / kKeyBlock, lane = slot % kKeyBlock;
  const std::int64_t key_at = block * d * kKeyBlock + lane, value_at = slot * d;
  std::byte* keys = plane(layer, 2 * kv_head);
  std::byte* values = plane(layer, 2 * kv_head + 1);
  switch (shape_.bits) {
    case KvBits::k32:
      put_f32(key, d, kKeyBlock, reinterpret_cast<float*>(keys) + key_at);
      put_f32(value, d, 1, reinterpret_cast<float*>(values) + value_at);
      break;
    case KvBits::k16:
      put_f16(key, d, kKeyBlock, reinterpret_cast<std::uint16_t*>(keys) + key_at);
      put_f16(value, d, 1, reinterpret_cast<std::uint16_t*>(values) + value_at);
      break;
    case KvBits::k8:
      put_i8(key, d, kKeyBlock, reinterpret_cast<std::int8_t*>(keys) + key_at, kKeyBlock,
             scales(layer, 2 * kv_head) + block * groups() * kKeyBlock + lane);
      put_i8(value, d, 1, reinterpret_cast<std::int8_t*>(values) + value_at, 1,
             scales(layer, 2 * kv_head + 1) + slot * groups());
      break;
  }
}

namespace {

const float* decode_f16(const std::byte* from, std::int64_t n, float* scratch) {
  const WeightRows row{.kind = WeightKind::kF16, .rows = 1, .cols = n, .values = from};
  kernels().decode_row(row, 0, 0, n, scratch);
  return scratch;
}

}  // namespace

const float* CpuSegment::keys(std::int64_t layer, std::int64_t kv_head, std::int64_t first,
                              std::int64_t count, float* scratch) const {
  const std::int64_t d = shape_.head_dim;
  const std::byte* from = plane(layer, 2 * kv_head) + first * d * element_bytes();
  if (shape_.bits == KvBits::k32) return reinterpret_cast<const float*>(from);
  if (shape_.bits == KvBits::k16) return decode_f16(from, whole_blocks(count) * d, scratch);
  kernels().decode_keys_i8(reinterpret_cast<const std::int8_t*>(from),
                           scales(layer, 2 * kv_head) + first * groups(),
                           whole_blocks(count) / kKeyBlock, d, kKvGroup, scratch);
  return scratch;
}

const float* CpuSegment::values(std::int64_t layer, std::int64_t kv_head, std::int64_t first,
                                std::int64_t count, float* scratch) const {
  const std::int64_t d = shape_.head_dim;
  const std::byte* from = plane(layer, 2 * kv_head + 1) + first * d * element_bytes();
  if (shape_.bits == KvBits::k32) return reinterpret_cast<const float*>(from);
  if (shape_.bits == KvBits::k16) return decode_f16(from, count * d, scratch);
  kernels().decode_values_i8(reinterpret_cast<const std::int8_t*>(from),
                             scales(layer, 2 * kv_head + 1) + first * groups(), count, d, kKvGroup,
                             scratch);
  return scratch;
}

}  // namespace qx
