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

// The nearest bfloat16 that is not above x, or not below it; NaN and infinities stay what they are.
std::uint16_t bf16_down(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto cut = static_cast<std::uint16_t>(bits >> 16);
  const bool magnitude_must_grow = (bits & 0xFFFFu) != 0 && x < 0;
  return static_cast<std::uint16_t>(cut + (magnitude_must_grow ? 1 : 0));
}
std::uint16_t bf16_up(float x) {
  return static_cast<std::uint16_t>(bf16_down(-x) ^ 0x8000u);
}

struct GroupCode {
  std::uint16_t scale = 0, bias = 0;
  float inverse = 0;  // 0: all codes are
};

// Of n elements, for codes up to `most`.
GroupCode fit_group(const float* x, std::int64_t n, float most) {
  constexpr std::uint16_t kNan = 0x7FC0;
  float lowest = x[0], highest = x[0], poison = 0;  // NaN when an element is no number
  for (std::int64_t i = 0; i < n; ++i) {
    lowest = std::min(lowest, x[i]);
    highest = std::max(highest, x[i]);
    poison += 0.0f * x[i];
  }
  GroupCode code;
  code.bias = bf16_down(lowest);
  code.scale = bf16_up((highest - bf16_to_f32(code.bias)) / most);
  const float scale = bf16_to_f32(code.scale);
  if (std::isnan(poison) || !std::isfinite(scale)) return {0, kNan, 0};
  // A subnormal scale may have no finite inverse; elements that differ by so little are alike.
  if (scale < std::numeric_limits<float>::min()) return {0, code.bias, 0};
  code.inverse = 1.0f / scale;
  return code;
}

int code_of(float x, float bias, float inverse, float most) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float rounded = std::clamp((x - bias) * inverse, 0.0f, most) + kRound;
  return static_cast<int>(std::bit_cast<std::uint32_t>(rounded) & 0xFFu);
}

// A key's element d lies at codes[d * 16], or, of 4 bits, in half a byte of codes[d / 2 * 16], in
// which other lanes of the same block are not: api.h has both layouts.
void put_key_codes(const float* x, std::int64_t n, int bits, std::uint8_t* codes,
                   std::uint16_t* scales) {
  const auto most = static_cast<float>((1 << bits) - 1);
  for (std::int64_t begin = 0; begin < n; begin += kKvGroup) {
    const std::int64_t end = std::min(n, begin + kKvGroup);
    const GroupCode group = fit_group(x + begin, end - begin, most);
    const float bias = bf16_to_f32(group.bias);
    scales[0] = group.scale;
    scales[kKeyBlock] = group.bias;
    scales += 2 * kKeyBlock;
    for (std::int64_t d = begin; d < end; ++d) {
      const int code = group.inverse == 0.0f ? 0 : code_of(x[d], bias, group.inverse, most);
      if (bits == 8) {
        codes[d * kKeyBlock] = static_cast<std::uint8_t>(code);
      } else if (d % 2 == 0) {
        codes[d / 2 * kKeyBlock] = static_cast<std::uint8_t>(code);
      } else {
        codes[d / 2 * kKeyBlock] |= static_cast<std::uint8_t>(code << 4);
      }
    }
  }
}

// Where element d of a value of n elements of 4 bits lies.
struct NibblePlace {
  std::int64_t byte;
  bool high;
};
NibblePlace value_nibble(std::int64_t d, std::int64_t n) {
  const std::int64_t piece = d / 32 * 32;
  const std::int64_t half = (std::min<std::int64_t>(32, n - piece) + 1) / 2;
  const bool high = d - piece >= half;
  return {piece / 2 + d - piece - (high ? half : 0), high};
}

void put_value_codes(const float* x, std::int64_t n, int bits, std::uint8_t* codes,
                     std::uint16_t* scales) {
  const auto most = static_cast<float>((1 << bits) - 1);
  for (std::int64_t begin = 0; begin < n; begin += kKvGroup) {
    const std::int64_t end = std::min(n, begin + kKvGroup);
    const GroupCode group = fit_group(x + begin, end - begin, most);
    const float bias = bf16_to_f32(group.bias);
    *scales++ = group.scale;
    *scales++ = group.bias;
    for (std::int64_t d = begin; d < end; ++d) {
      const int code = group.inverse == 0.0f ? 0 : code_of(x[d], bias, group.inverse, most);
      if (bits == 8) {
        codes[d] = static_cast<std::uint8_t>(code);
        continue;
      }
      const NibblePlace at = value_nibble(d, n);  // the low half of a byte comes first
      if (at.high) {
        codes[at.byte] |= static_cast<std::uint8_t>(code << 4);
      } else {
        codes[at.byte] = static_cast<std::uint8_t>(code);
      }
    }
  }
}

}  // namespace

void rotate_head(float* head, std::int64_t n) {
  for (std::int64_t left = n; left > 0;) {
    std::int64_t size = kKvGroup;
    while (size > left) size /= 2;
    for (std::int64_t half = 1; half < size; half *= 2) {
      for (std::int64_t i = 0; i < size; i += 2 * half) {
        for (std::int64_t k = i; k < i + half; ++k) {
          const float a = head[k], b = head[k + half];
          head[k] = a + b;
          head[k + half] = a - b;
        }
      }
    }
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(size)));
    for (std::int64_t i = 0; i < size; ++i) head[i] *= scale;
    head += size;
    left -= size;
  }
}

std::int64_t kv_groups(const KvShape& shape) {
  const bool codes = shape.bits == KvBits::k8 || shape.bits == KvBits::k4;
  return codes ? (shape.head_dim + kKvGroup - 1) / kKvGroup : 0;
}

std::int64_t kv_element_row_bytes(const KvShape& shape) {
  return kv_row_bytes(shape.head_dim, static_cast<int>(shape.bits));
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

std::int64_t CpuSegment::plane_bytes(std::int64_t positions) const {
  return positions * (row_bytes() + scale_bytes());
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

std::uint16_t* CpuSegment::scales(std::int64_t layer, std::int64_t index) const {
  const std::int64_t reserved = layers_[static_cast<std::size_t>(layer)].reserved;
  return reinterpret_cast<std::uint16_t*>(plane(layer, index) + reserved * row_bytes());
}

void CpuSegment::grow(Layer& layer, std::int64_t needed) const {
  const std::int64_t target =
      std::min(whole_blocks(capacity_), whole_blocks(std::max(needed, 2 * layer.reserved)));
  const std::int64_t planes = 2 * shape_.kv_heads, filled = whole_blocks(length_);
  const std::int64_t row = row_bytes(), scale_row = scale_bytes();
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
  const std::int64_t row = row_bytes();
  for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
    for (std::int64_t h = 0; h < shape_.kv_heads; ++h) {
      std::memset(plane(layer, 2 * h) + last * row, 0, static_cast<std::size_t>(kKeyBlock * row));
      std::fill_n(scales(layer, 2 * h) + last * 2 * groups(), kKeyBlock * 2 * groups(),
                  std::uint16_t{0});
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
    case KvBits::k4: {
      const int bits = static_cast<int>(shape_.bits);
      std::vector<float> rotated;
      if (kv_rotated(shape_.bits)) {
        rotated.insert(rotated.end(), key, key + d);
        rotated.insert(rotated.end(), value, value + d);
        key = rotated.data();
        value = rotated.data() + d;
        rotate_head(rotated.data(), d);
        rotate_head(rotated.data() + d, d);
      }
      put_key_codes(key, d, bits,
                    reinterpret_cast<std::uint8_t*>(keys) + block * kKeyBlock * row_bytes() + lane,
                    scales(layer, 2 * kv_head) + block * groups() * 2 * kKeyBlock + lane);
      put_value_codes(value, d, bits, reinterpret_cast<std::uint8_t*>(values) + slot * row_bytes(),
                      scales(layer, 2 * kv_head + 1) + slot * 2 * groups());
      break;
    }
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
  const std::byte* from = plane(layer, 2 * kv_head) + first * row_bytes();
  if (shape_.bits == KvBits::k32) return reinterpret_cast<const float*>(from);
  if (shape_.bits == KvBits::k16) return decode_f16(from, whole_blocks(count) * d, scratch);
  kernels().decode_keys(reinterpret_cast<const std::uint8_t*>(from),
                        scales(layer, 2 * kv_head) + first * 2 * groups(),
                        static_cast<int>(shape_.bits), whole_blocks(count) / kKeyBlock, d, kKvGroup,
                        scratch);
  return scratch;
}

const float* CpuSegment::values(std::int64_t layer, std::int64_t kv_head, std::int64_t first,
                                std::int64_t count, float* scratch) const {
  const std::int64_t d = shape_.head_dim;
  const std::byte* from = plane(layer, 2 * kv_head + 1) + first * row_bytes();
  if (shape_.bits == KvBits::k32) return reinterpret_cast<const float*>(from);
  if (shape_.bits == KvBits::k16) return decode_f16(from, count * d, scratch);
  kernels().decode_values(reinterpret_cast<const std::uint8_t*>(from),
                          scales(layer, 2 * kv_head + 1) + first * 2 * groups(),
                          static_cast<int>(shape_.bits), count, d, kKvGroup, scratch);
  return scratch;
}

namespace {

// Element d of position p of a plane of keys, [block][d][lane] of elements of T.
template <class T>
void gather_keys(const std::byte* plane, std::int64_t first, std::int64_t count, std::int64_t dim,
                 std::byte* out) {
  const T* keys = reinterpret_cast<const T*>(plane);
  T* row = reinterpret_cast<T*>(out);
  for (std::int64_t p = first; p < first + count; ++p, row += dim) {
    const T* from = keys + p / kKeyBlock * dim * kKeyBlock + p % kKeyBlock;
    for (std::int64_t d = 0; d < dim; ++d) row[d] = from[d * kKeyBlock];
  }
}
template <class T>
void scatter_keys(std::byte* plane, std::int64_t first, std::int64_t count, std::int64_t dim,
                  const std::byte* from) {
  T* keys = reinterpret_cast<T*>(plane);
  const T* row = reinterpret_cast<const T*>(from);
  for (std::int64_t p = first; p < first + count; ++p, row += dim) {
    T* to = keys + p / kKeyBlock * dim * kKeyBlock + p % kKeyBlock;
    for (std::int64_t d = 0; d < dim; ++d) to[d * kKeyBlock] = row[d];
  }
}

// Keys of 4 bits keep pairs of elements in one byte, as a packed row does: a row of bytes.
struct KeyElements {
  std::int64_t count;  // of a row
  int bytes;
};
KeyElements key_elements(const KvShape& shape) {
  if (shape.bits == KvBits::k4) return {kv_element_row_bytes(shape), 1};
  return {shape.head_dim, static_cast<int>(shape.bits) / 8};
}

// A value's row of 4 bits from the order of api.h to that of the packed bit stream, and back.
void pack_value(const std::uint8_t* row, std::int64_t dim, std::uint8_t* packed) {
  std::fill_n(packed, kv_row_bytes(dim, 4), std::uint8_t{0});
  for (std::int64_t d = 0; d < dim; ++d) {
    const NibblePlace at = value_nibble(d, dim);
    const int code = at.high ? row[at.byte] >> 4 : row[at.byte] & 15;
    packed[d / 2] |= static_cast<std::uint8_t>(d % 2 == 0 ? code : code << 4);
  }
}
void unpack_value(const std::uint8_t* packed, std::int64_t dim, std::uint8_t* row) {
  std::fill_n(row, kv_row_bytes(dim, 4), std::uint8_t{0});
  for (std::int64_t d = 0; d < dim; ++d) {
    const NibblePlace at = value_nibble(d, dim);
    const int code = d % 2 == 0 ? packed[d / 2] & 15 : packed[d / 2] >> 4;
    row[at.byte] |= static_cast<std::uint8_t>(at.high ? code << 4 : code);
  }
}

}  // namespace

// Where the scale of group g of own position p lies, and how far behind it the bias.
CpuSegment::ScalePlace CpuSegment::scale_place(bool values, std::int64_t p, std::int64_t g) const {
  if (values) return {(p * groups() + g) * 2, 1};
  const std::int64_t block = p / kKeyBlock;
  return {(block * groups() + g) * 2 * kKeyBlock + p % kKeyBlock, kKeyBlock};
}

void CpuSegment::copy_rows(std::int64_t layer, std::int64_t kv_head, bool values,
                           std::int64_t first, std::int64_t count, const Rows& out) const {
  QX_CHECK(first >= 0 && count >= 0 && first + count <= length_);
  const std::byte* from = plane(layer, 2 * kv_head + (values ? 1 : 0));
  const std::int64_t row = row_bytes();
  if (!values) {
    const KeyElements e = key_elements(shape_);
    const auto gather = e.bytes == 4   ? gather_keys<float>
                        : e.bytes == 2 ? gather_keys<std::uint16_t>
                                       : gather_keys<std::uint8_t>;
    gather(from, first, count, e.count, out.elements);
  } else if (shape_.bits != KvBits::k4) {
    std::memcpy(out.elements, from + first * row, static_cast<std::size_t>(count * row));
  } else {
    for (std::int64_t p = 0; p < count; ++p) {
      pack_value(reinterpret_cast<const std::uint8_t*>(from) + (first + p) * row, shape_.head_dim,
                 reinterpret_cast<std::uint8_t*>(out.elements) + p * row);
    }
  }
  const std::uint16_t* stored = scales(layer, 2 * kv_head + (values ? 1 : 0));
  for (std::int64_t i = 0; i < count * groups(); ++i) {
    const ScalePlace at = scale_place(values, first + i / groups(), i % groups());
    out.scales[i] = stored[at.scale];
    out.biases[i] = stored[at.scale + at.to_bias];
  }
}

void CpuSegment::set_rows(std::int64_t layer, std::int64_t kv_head, bool values, std::int64_t first,
                          std::int64_t count, const ConstRows& from) {
  QX_CHECK(first >= 0 && count >= 0 && first + count <= length_);
  std::byte* to = plane(layer, 2 * kv_head + (values ? 1 : 0));
  const std::int64_t row = row_bytes();
  if (!values) {
    const KeyElements e = key_elements(shape_);
    const auto scatter = e.bytes == 4   ? scatter_keys<float>
                         : e.bytes == 2 ? scatter_keys<std::uint16_t>
                                        : scatter_keys<std::uint8_t>;
    scatter(to, first, count, e.count, from.elements);
  } else if (shape_.bits != KvBits::k4) {
    std::memcpy(to + first * row, from.elements, static_cast<std::size_t>(count * row));
  } else {
    for (std::int64_t p = 0; p < count; ++p) {
      unpack_value(reinterpret_cast<const std::uint8_t*>(from.elements) + p * row, shape_.head_dim,
                   reinterpret_cast<std::uint8_t*>(to) + (first + p) * row);
    }
  }
  std::uint16_t* stored = scales(layer, 2 * kv_head + (values ? 1 : 0));
  for (std::int64_t i = 0; i < count * groups(); ++i) {
    const ScalePlace at = scale_place(values, first + i / groups(), i % groups());
    stored[at.scale] = from.scales[i];
    stored[at.scale + at.to_bias] = from.biases[i];
  }
}

}  // namespace qx
