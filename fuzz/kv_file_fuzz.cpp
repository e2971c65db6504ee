// Fuzzes the file of keys and values: any bytes are either read, with all arrays inside them, or an Error.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "base/error.h"
#include "model/kv_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const qx::ParsedKvFile file = qx::parse_kv_file(qx::parse_safetensors(bytes, "fuzz"), "fuzz");
    const auto check = [&](const qx::TensorView& t, std::int64_t row) {
      QX_CHECK(static_cast<std::int64_t>(t.data.size()) ==
               file.positions * file.shape.kv_heads * row);
      QX_CHECK(t.data.empty() || (t.data.data() >= bytes.data() &&
                                  t.data.data() + t.data.size() <= bytes.data() + size));
    };
    QX_CHECK(static_cast<std::int64_t>(file.layers.size()) == file.shape.layers);
    for (const auto& layer : file.layers) {
      for (const qx::ParsedKvFile::Rows& rows : layer) {
        check(rows.elements, qx::kv_element_row_bytes(file.shape));
        check(rows.scales, 2 * qx::kv_groups(file.shape));
        check(rows.biases, 2 * qx::kv_groups(file.shape));
      }
    }
    std::int64_t positions = 0;
    for (std::size_t i = 0; i < file.segments.size(); ++i) {
      const qx::KvFileSegment& segment = file.segments[i];
      QX_CHECK(segment.parent < static_cast<std::int64_t>(i) && segment.first == positions);
      positions += static_cast<std::int64_t>(segment.tokens.size());
    }
    QX_CHECK(positions == file.positions);
  } catch (const qx::Error&) {
  }
  return 0;
}
