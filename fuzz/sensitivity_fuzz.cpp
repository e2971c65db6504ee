// Fuzzes the sensitivity file: any JSON is read, with finite numbers and sizes that agree, or an
// Error; what was read survives being written and read again.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "sensitivity/sensitivity_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const qx::Sensitivity s = qx::parse_sensitivity(qx::parse_json(text, "fuzz"), "fuzz");
    QX_CHECK(!s.tensors.empty());
    for (const qx::SensitivityTensor& t : s.tensors) {
      QX_CHECK(!t.options.empty() && t.shape.size() == 2);
      for (const qx::SensitivityOption& o : t.options) {
        QX_CHECK(qx::is_valid(o.spec) && o.bytes > 0 && o.cost >= 0 && std::isfinite(o.cost));
      }
    }
    const qx::Json written = qx::sensitivity_json(s);
    QX_CHECK(qx::sensitivity_json(qx::parse_sensitivity(written, "again")) == written);
  } catch (const qx::Error&) {
  }
  return 0;
}
