// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include <array>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace qx {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  std::size_t bytes;
};

constexpr std::array kRows = {
    Row{DType::kBool, "BOOL", 1},      Row{DType::kU8, "U8", 1},
    Row{DType::kI8, "I8", 1},          Row{DType::kF8E4M3, "F8_E4M3", 1},
    Row{DType::kF8E8M0, "F8_E8M0", 1}, Row{DType::kU16, "U16", 2},
    Row{DType::kI16, "I16", 2},        Row{DType::kF16, "F16", 2},
    Row{DType::kBF16, "BF16", 2},      Row{DType::kU32, "U32", 4},
    Row{DType::kI32, "I32", 4},        Row{DType::kF32, "F32", 4},
    Row{DType::kU64, "U64", 8},        Row{DType::kI64, "I64", 8},
    Row{DType::kC64, "C64", 8},
};
static_assert(kRows.size() == static_cast<std::size_t>(DType::kC64) + 1);

const Row& row(DType dtype) {
  return kRows[static_cast<std::size_t>(dtype)];
}

}  // namespace

std::string_view dtype_name(DType dtype) {
  return row(dtype).name;
}
std::size_t dtype_bytes(DType dtype) {
  return row(dtype).bytes;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Row& r : kRows) {
    if (r.name == name) return r.dtype;
  }
  return std::nullopt;
}

std::optional<DType> float_dtype_from_config(std::string_view name) {
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float16") return DType::kF16;
  if (name == "float32") return DType::kF32;
  return std::nullopt;
}

std::string_view float_dtype_config_name(DType dtype) {
  QX_CHECK(is_float_dtype(dtype));
  return dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
}

std::optional<std::int64_t> element_count(const Shape& shape) {
  std::int64_t n = 1;
  bool zero = false;
  for (const std::int64_t d : shape) {
    if (d < 0) return std::nullopt;
    zero = zero || d == 0;
  }
  if (zero) return 0;
  for (const std::int64_t d : shape) {
    if (n > INT64_MAX / d) return std::nullopt;
    n *= d;
  }
  return n;
}

std::string shape_text(const Shape& shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    out += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  }
  return out + "]";
}

void load_floats(DType dtype, const std::byte* data, std::size_t begin_elems,
                 std::span<float> out) {
  QX_CHECK(is_float_dtype(dtype));
  if (out.empty()) return;
  if (dtype == DType::kF32) {
    std::memcpy(out.data(), data + begin_elems * 4, out.size() * 4);
    return;
  }
  const std::byte* p = data + begin_elems * 2;
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t h;
    std::memcpy(&h, p + i * 2, 2);
    out[i] = dtype == DType::kBF16 ? bf16_to_f32(h) : f16_to_f32(h);
  }
}

void store_floats(DType dtype, std::span<const float> values, std::byte* out) {
  QX_CHECK(is_float_dtype(dtype));
  if (values.empty()) return;
  if (dtype == DType::kF32) {
    std::memcpy(out, values.data(), values.size() * 4);
    return;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t h = dtype == DType::kBF16 ? f32_to_bf16(values[i]) : f32_to_f16(values[i]);
    std::memcpy(out + i * 2, &h, 2);
  }
}

}  // namespace qx
