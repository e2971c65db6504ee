// boolq (aps/super_glue, boolq).
// SPDX-License-Identifier: Apache-2.0
#include "tasks/task.h"

namespace qx {

// The question mark is added whether or not the question has one, as in the reference.
TaskItem read_boolq(const Json& row, std::string_view place) {
  TaskItem item;
  item.contexts.push_back(row_string(row, "passage", place) +
                          "\nQuestion: " + row_string(row, "question", place) + "?\nAnswer:");
  item.continuations = {"no", "yes"};
  item.gold = checked_gold(row_int(row, "label", place), 2, place);
  return item;
}

}  // namespace qx
