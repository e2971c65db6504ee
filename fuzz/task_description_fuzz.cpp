// Fuzzes task descriptions together with a row: the input is a description, a zero byte, and a row as JSON. Any
// description is either read, and then gives for any row an item fit to be asked or an Error, or is an Error.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "io/json.h"
#include "tasks/task.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = std::min(input.find('\0'), size);
  try {
    const qx::Task task = qx::parse_task(input.substr(0, zero), "fuzz.json");
    QX_CHECK(!task.name.empty() && task.name.find('/') == std::string::npos);
    const qx::Json row = qx::parse_json(input.substr(std::min(zero + 1, size)), "fuzz.jsonl:1");
    const qx::TaskItem item = task.read_item(row, "fuzz.jsonl:1");
    QX_CHECK(task.cloze ? item.continuations.size() == 1 : item.continuations.size() >= 2);
    QX_CHECK(item.contexts.size() == 1 || item.contexts.size() == item.continuations.size());
    QX_CHECK(item.gold >= 0 && static_cast<std::size_t>(item.gold) < item.continuations.size());
  } catch (const qx::Error&) {
  }
  return 0;
}
