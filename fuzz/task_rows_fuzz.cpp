// Fuzzes task data: the first byte picks one of the shipped tasks, the rest is its JSONL file, which also serves
// as the pool of few-shot examples. Any text is either read, every item fit to be asked, or an Error.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "tasks/dataset.h"

namespace {

void check_item(const qx::TaskItem& item) {
  QX_CHECK(item.continuations.size() >= 2);
  QX_CHECK(item.contexts.size() == 1 || item.contexts.size() == item.continuations.size());
  QX_CHECK(item.gold >= 0 && static_cast<std::size_t>(item.gold) < item.continuations.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const qx::Task& task = qx::all_tasks()[data[0] % qx::all_tasks().size()];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    qx::TaskData rows = qx::parse_task_data(task, text, "fuzz", {});
    QX_CHECK(static_cast<std::int64_t>(rows.items.size()) == rows.rows);
    for (const qx::DataItem& item : rows.items) check_item(item.item);
    qx::draw_examples_from(rows, {1, data[0]}, text, text, "fuzz");
    for (const qx::DataItem& item : rows.items) {
      QX_CHECK(item.examples.size() == 1);
      check_item(*item.examples[0]);
    }
  } catch (const qx::Error&) {
  }
  return 0;
}
