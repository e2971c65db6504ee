// openbookqa (allenai/openbookqa, main).
// SPDX-License-Identifier: Apache-2.0
#include "tasks/python_text.h"
#include "tasks/task.h"

namespace qx {

// The stem is the whole context: no "Question:", no "Answer:".
TaskItem read_openbookqa(const Json& row, std::string_view place) {
  const std::string answer = row_string(row, "answerKey", place);
  return labelled_choices_item(row, row_string(row, "question_stem", place), python_lstrip(answer),
                               place);
}

}  // namespace qx
