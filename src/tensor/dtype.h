// Element types of stored tensors, and shapes. Names are those of the safetensors format.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

enum class DType : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E8M0,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kC64,
};

std::string_view dtype_name(DType dtype);                        // "BF16", as in safetensors
std::optional<DType> dtype_from_name(std::string_view name);     // of safetensors
std::optional<DType> float_dtype_from_config(std::string_view);  // "bfloat16" "float16" "float32"
std::string_view float_dtype_config_name(DType dtype);           // the inverse; F32, F16, BF16 only
std::size_t dtype_bytes(DType dtype);
constexpr bool is_float_dtype(DType d) {
  return d == DType::kF16 || d == DType::kBF16 || d == DType::kF32;
}

// Dimensions, outermost first; row-major. An empty shape is a scalar.
using Shape = std::vector<std::int64_t>;

// Product of the dimensions, or nothing when one is negative or the product exceeds int64.
std::optional<std::int64_t> element_count(const Shape& shape);
std::string shape_text(const Shape& shape);  // "[2, 3]"

// A stored tensor, not owned. data may start at any byte.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> data;  // exactly element_count(shape) * dtype_bytes(dtype)
};

// Float values [begin, begin + out.size()) of a float tensor, converted exactly to float32.
// Units: elements, not bytes. Align: any.
void load_floats(DType dtype, const std::byte* data, std::size_t begin_elems, std::span<float> out);

// The reverse, rounding to nearest even. Align: any.
void store_floats(DType dtype, std::span<const float> values, std::byte* out);

}  // namespace qx
