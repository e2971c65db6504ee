// Reading files of row numbers.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/mapped_file.h"
#include "tasks/selection.h"

namespace qx {
namespace {

constexpr std::string_view kExpected =
    "expected INDEX, TASK INDEX, or JSON: a number, or an object with \"index\" and perhaps "
    "\"task\"";

// White space at both ends goes.
std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

struct Named {
  std::string task;  // "": none
  std::int64_t row = 0;
};

std::int64_t checked_row(std::int64_t row, std::string_view place) {
  if (row < 0 || row == INT64_MAX) fail(place, "got row {}, expected at least 0", row);
  return row;
}

Named from_json(const Json& json, std::string_view place) {
  if (json.is_object()) {
    Named named{json_string_or(json, "task", "", place), json_int(json, "index", place)};
    checked_row(named.row, place);
    return named;
  }
  if (!json.is_number_integer() ||
      (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX)) {
    fail(place, "got {}, {}", json.type_name(), kExpected);
  }
  return {"", checked_row(json.get<std::int64_t>(), place)};
}

// `INDEX` or `TASK INDEX`.
Named from_words(std::string_view line, std::string_view place) {
  const std::size_t gap = line.find_first_of(" \t");
  const std::string_view task = gap == std::string_view::npos ? "" : line.substr(0, gap);
  const std::string_view number = gap == std::string_view::npos ? line : trimmed(line.substr(gap));
  std::int64_t row = -1;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), row);
  if (error != std::errc() || end != number.data() + number.size()) {
    fail(place, "got '{}', {}", line.substr(0, 60), kExpected);
  }
  return {std::string(task), checked_row(row, place)};
}

class Collector {
 public:
  explicit Collector(std::string file) { list_.file = std::move(file); }

  void add(Named named, std::string place) {
    const bool names_task = !named.task.empty();
    if (!list_.by_task.empty() && names_task == list_.by_task.contains("")) {
      fail(place, "names {} task, the lines before {}, expected one kind in a file",
           names_task ? "a" : "no", names_task ? "name none" : "name one");
    }
    list_.by_task[named.task].push_back({named.row, std::move(place)});
  }

  IndexList take() {
    if (list_.by_task.empty()) fail(list_.file, "names no row, expected at least one");
    const auto by_row = [](const IndexList::Entry& a, const IndexList::Entry& b) {
      return a.row < b.row;
    };
    for (auto& [task, entries] : list_.by_task) {
      std::stable_sort(entries.begin(), entries.end(), by_row);
      const auto twice = std::adjacent_find(
          entries.begin(), entries.end(),
          [](const IndexList::Entry& a, const IndexList::Entry& b) { return a.row == b.row; });
      if (twice == entries.end()) continue;
      fail(std::next(twice)->place, "got row {}{}{} again, expected it once; it is at {} already",
           twice->row, task.empty() ? "" : " of ", task, twice->place);
    }
    return std::move(list_);
  }

 private:
  IndexList list_;
};

}  // namespace

IndexList parse_index_list(std::string_view text, std::string file) {
  Collector collector(file);
  if (trimmed(text).starts_with('[')) {
    const Json array = parse_json(text, file);
    for (std::size_t i = 0; i < array.size(); ++i) {
      std::string place = fmt::format("{}: element {}", file, i);
      Named named = from_json(array[i], place);
      collector.add(std::move(named), std::move(place));
    }
    return collector.take();
  }
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    std::string place = fmt::format("{}:{}", file, number);
    Named named =
        line.starts_with('{') ? from_json(parse_json(line, place), place) : from_words(line, place);
    collector.add(std::move(named), std::move(place));
  }
  return collector.take();
}

IndexList read_index_list(const std::filesystem::path& file) {
  const MappedFile map(file);
  return parse_index_list(map.text(), file.string());
}

}  // namespace qx
