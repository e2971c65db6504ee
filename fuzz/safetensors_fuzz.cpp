// Fuzzes the safetensors header: any bytes are either read, with every tensor inside them, or an Error.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "base/error.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const qx::SafetensorsHeader header = qx::parse_safetensors(bytes, "fuzz");
    const std::byte* end = bytes.data();  // tensors come in order and do not overlap
    for (const qx::TensorView& t : header.tensors) {
      const auto count = qx::element_count(t.shape);
      QX_CHECK(count.has_value());
      QX_CHECK(t.data.size() == static_cast<std::uint64_t>(*count) * qx::dtype_bytes(t.dtype));
      if (t.data.empty()) continue;
      QX_CHECK(t.data.data() >= end && t.data.data() + t.data.size() <= bytes.data() + size);
      end = t.data.data() + t.data.size();
    }
  } catch (const qx::Error&) {
  }
  return 0;
}
