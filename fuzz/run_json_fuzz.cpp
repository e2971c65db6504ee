// Any bytes as run.json: an error, or a run that may continue itself.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "runs/run_folder.h"
#include "runs/run_record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const qx::RunRecord run = qx::parse_run_record(qx::parse_json(text, "fuzz"), "fuzz");
    QX_CHECK(qx::first_run_difference(run.json, run.json).empty());
    for (const auto& [task, record] : run.tasks) {
      QX_CHECK(qx::IndexSet::parse(record.items.text(), "again") == record.items);
    }
  } catch (const qx::Error&) {
  }
  return 0;
}
