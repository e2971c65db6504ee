// Fuzzes the calibration file: any bytes are either read, with all arrays inside them, or an Error.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "base/error.h"
#include "fit/calibration_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const qx::ParsedCalibration c =
        qx::parse_calibration(qx::parse_safetensors(bytes, "fuzz"), "fuzz");
    for (const auto& [name, input] : c.inputs) {
      QX_CHECK(static_cast<std::int64_t>(input.mean_square.data.size()) == 4 * input.width);
      QX_CHECK(static_cast<std::int64_t>(input.moment.data.size()) ==
               4 * qx::triangle_size(input.width));
      QX_CHECK(input.moment.data.data() >= bytes.data() &&
               input.moment.data.data() + input.moment.data.size() <= bytes.data() + size);
    }
  } catch (const qx::Error&) {
  }
  return 0;
}
