// piqa (baber/piqa).
// SPDX-License-Identifier: Apache-2.0
#include "tasks/task.h"

namespace qx {

TaskItem read_piqa(const Json& row, std::string_view place) {
  TaskItem item;
  item.contexts.push_back("Question: " + row_string(row, "goal", place) + "\nAnswer:");
  item.continuations = {row_string(row, "sol1", place), row_string(row, "sol2", place)};
  item.gold = checked_gold(row_int(row, "label", place), 2, place);
  return item;
}

}  // namespace qx
