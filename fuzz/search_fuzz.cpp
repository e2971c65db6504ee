// The file of a search: whatever it holds, it is read whole or refused with an Error; what is read
// is written again as it was understood.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "search/search_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const qx::SearchRecord record = qx::parse_search(qx::parse_json(text, "fuzz"), "fuzz");
    const qx::Json json = qx::search_json(record);
    if (qx::search_json(qx::parse_search(json, "again")) != json) __builtin_trap();
  } catch (const qx::Error&) {
  }
  return 0;
}
