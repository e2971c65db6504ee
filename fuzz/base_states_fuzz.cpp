// Fuzzes the file of a base model's states: any bytes are either read, with all rows inside them, or an Error.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "base/error.h"
#include "distance/base_states.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const qx::ParsedStates states = qx::parse_states(bytes, "fuzz");
    QX_CHECK(static_cast<std::int64_t>(states.values.size()) == states.rows * states.width * 4);
    QX_CHECK(states.values.data() >= bytes.data() &&
             states.values.data() + states.values.size() <= bytes.data() + bytes.size());
  } catch (const qx::Error&) {
  }
  return 0;
}
