// Fuzzes GGUF files: any bytes are either an Error or read, and then every small tensor decodes.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "io/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const qx::GgufHeader header = qx::parse_gguf(bytes, "fuzz");
    for (const qx::GgufTensor& t : header.tensors) {
      const auto count = qx::element_count(t.shape);
      QX_CHECK(count.has_value());
      if (*count > 1 << 16) continue;
      std::vector<float> values(static_cast<std::size_t>(*count));
      qx::gguf_decode(t, 0, values);
    }
    const qx::GgufKeys keys(header.metadata, "fuzz");
    for (const auto& [key, value] : header.metadata) {
      try {
        if (std::holds_alternative<double>(value.value)) keys.find_number(key);
        if (std::holds_alternative<std::string>(value.value)) keys.find_text(key);
        keys.find_integer(key);
      } catch (const qx::Error&) {
      }
    }
  } catch (const qx::Error&) {
  }
  return 0;
}
