// hellaswag (Rowan/hellaswag).
// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "base/error.h"
#include "tasks/python_text.h"
#include "tasks/task.h"

namespace qx {
namespace {

// re.sub(r"\[.*?\]", "", text): from each '[' to the next ']', unless a line feed comes first.
std::string without_bracketed(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '[') {
      const std::size_t stop = text.find_first_of("]\n", i + 1);
      if (stop != std::string_view::npos && text[stop] == ']') {
        i = stop + 1;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

// The label is a string of digits in the data set ("" where it is withheld), a number in some
// copies.
std::int64_t read_label(const Json& row, std::string_view place) {
  const Json& label = row_field(row, "label", place);
  if (!label.is_string()) return row_int(row, "label", place);
  const std::string text = label.get<std::string>();
  const std::string_view digits = python_strip(text);
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) {
    fail(place, "field 'label': got '{}', expected the index of an ending", text);
  }
  return value;
}

}  // namespace

std::string hellaswag_preprocess(std::string_view text) {
  const std::string titled = python_replace(python_strip(text), " [title]", ". ");
  return python_replace(without_bracketed(titled), "  ", " ");
}

TaskItem read_hellaswag(const Json& row, std::string_view place) {
  const std::string context =
      row_string(row, "ctx_a", place) + " " + python_capitalize(row_string(row, "ctx_b", place));
  TaskItem item;
  item.contexts.push_back(
      hellaswag_preprocess(row_string(row, "activity_label", place) + ": " + context));
  for (const std::string& ending : row_strings(row, "endings", place)) {
    item.continuations.push_back(hellaswag_preprocess(ending));
  }
  if (item.continuations.size() < 2) {
    fail(place, "got {} endings, expected at least 2", item.continuations.size());
  }
  item.gold = checked_gold(read_label(row, place), item.continuations.size(), place);
  return item;
}

}  // namespace qx
