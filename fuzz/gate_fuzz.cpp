// Gate expressions of the command line.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "compare/gate.h"
#include "compare/junit.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const qx::Gate gate = qx::parse_gate(text);
    if (gate.subject.empty() || !std::isfinite(gate.limit)) std::abort();
    // What was read of a gate is read again from its own text.
    const qx::Gate again = qx::parse_gate(gate.text);
    if (again.subject != gate.subject || again.limit != gate.limit || again.above != gate.above ||
        again.or_equal != gate.or_equal) {
      std::abort();
    }
  } catch (const qx::UsageError&) {
  }
  qx::GateResult result;
  result.gate = result.variant = result.reason = text;
  qx::junit_xml({result}, text);
  return 0;
}
