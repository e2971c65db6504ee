// winogrande (allenai/winogrande, winogrande_xl): the blank is filled in the context, and what
// follows the blank is scored.
// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "tasks/python_text.h"
#include "tasks/task.h"

namespace qx {

TaskItem read_winogrande(const Json& row, std::string_view place) {
  const std::string sentence = row_string(row, "sentence", place);
  const std::size_t blank = sentence.find('_');
  if (blank == std::string::npos) {
    fail(place, "field 'sentence': got no '_', expected one that marks the blank");
  }
  TaskItem item;
  for (const char* option : {"option1", "option2"}) {
    item.contexts.push_back(sentence.substr(0, blank) + row_string(row, option, place));
  }
  const std::string rest(python_strip(std::string_view(sentence).substr(blank + 1)));
  item.continuations = {rest, rest};
  const std::string answer = row_string(row, "answer", place);
  if (answer != "1" && answer != "2") {
    fail(place, "field 'answer': got '{}', expected '1' or '2'", answer);
  }
  item.gold = answer == "1" ? 0 : 1;
  return item;
}

}  // namespace qx
