// SPDX-License-Identifier: Apache-2.0
#include "model/kv_segment.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace qx {
namespace {
constexpr std::int64_t kFirstReserve = 8;  // positions
}

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

void CpuSegment::grow(Layer& layer, std::int64_t needed) const {
  const std::int64_t target =
      std::min(capacity_, std::max({needed, 2 * layer.reserved, kFirstReserve}));
  const std::int64_t planes = 2 * shape_.kv_heads;
  const auto bytes = static_cast<std::size_t>(length_ * shape_.head_dim) * sizeof(float);
  FloatBuffer block;
  block.reserve(planes * target * shape_.head_dim);
  for (std::int64_t p = 0; p < planes && bytes > 0; ++p) {
    std::memcpy(block.data() + p * target * shape_.head_dim,
                layer.block.data() + p * layer.reserved * shape_.head_dim, bytes);
  }
  layer.block = std::move(block);
  layer.reserved = target;
}

void CpuSegment::extend(std::int64_t count) {
  QX_CHECK(filled_children_ == 0 || count == 0);
  QX_CHECK(count >= 0 && count <= capacity_ - length_);
  const std::int64_t needed = length_ + count;
  // Layer by layer, each old block freed at once: never twice the whole in memory.
  for (Layer& layer : layers_) {
    if (needed > layer.reserved) grow(layer, needed);
  }
  set_length(needed);
}

}  // namespace qx
