// arc_easy and arc_challenge (allenai/ai2_arc).
// SPDX-License-Identifier: Apache-2.0
#include "tasks/task.h"

namespace qx {

// Labels are "A".. or "1".., three to five of them.
TaskItem read_arc(const Json& row, std::string_view place) {
  const std::string question = row_string(row, "question", place);
  return labelled_choices_item(
      row, "Question: " + question + "\nAnswer:", row_string(row, "answerKey", place), place);
}

}  // namespace qx
