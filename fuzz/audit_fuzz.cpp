// Model cards: tables and claims of any text.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>

#include "audit/audit.h"
#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const qx::Audit audit = qx::audit_text({reinterpret_cast<const char*>(data), size}, "fuzz");
    qx::audit_report(audit, 80);
    qx::audit_json(audit);
  } catch (const qx::Error&) {
  }
  return 0;
}
