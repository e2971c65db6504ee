// Row numbers as ranges.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/index_set.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/hash.h"

namespace qx {
namespace {

// Takes a number of at least 0 off the front.
std::int64_t take_number(std::string_view& text, std::string_view place) {
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0 || value == INT64_MAX) {
    fail(place, "got '{}', expected a list of row numbers such as 0-99,105", text.substr(0, 40));
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

}  // namespace

IndexSet::IndexSet(std::span<const std::int64_t> rows) {
  for (const std::int64_t row : rows) {
    QX_CHECK(row >= 0 && (ranges_.empty() || row > ranges_.back().last));
    if (!ranges_.empty() && ranges_.back().last + 1 == row) {
      ranges_.back().last = row;
    } else {
      ranges_.push_back({row, row});
    }
  }
}

IndexSet IndexSet::parse(std::string_view text, std::string_view place) {
  IndexSet set;
  while (!text.empty()) {
    Range range;
    range.first = range.last = take_number(text, place);
    if (text.starts_with('-')) {
      text.remove_prefix(1);
      range.last = take_number(text, place);
    }
    const bool touches = !set.ranges_.empty() && range.first <= set.ranges_.back().last + 1;
    if (range.last < range.first || touches) {
      fail(place, "got {}-{} after {}, expected ranges that rise and do not touch", range.first,
           range.last, set.ranges_.empty() ? -1 : set.ranges_.back().last);
    }
    set.ranges_.push_back(range);
    if (text.empty()) break;
    if (!text.starts_with(',') || text.size() == 1) {
      fail(place, "got '{}', expected ',' and a row number", text.substr(0, 40));
    }
    text.remove_prefix(1);
  }
  return set;
}

std::string IndexSet::text() const {
  std::string text;
  for (const Range& range : ranges_) {
    if (!text.empty()) text += ',';
    text += std::to_string(range.first);
    if (range.last != range.first) text += '-' + std::to_string(range.last);
  }
  return text;
}

std::string IndexSet::hash() const {
  return sha256_hex(text());
}

std::int64_t IndexSet::count() const {
  std::int64_t count = 0;  // cannot overflow: the ranges lie apart in [0, INT64_MAX)
  for (const Range& range : ranges_) count += range.last - range.first + 1;
  return count;
}

bool IndexSet::contains(std::int64_t row) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), row,
                                      [](std::int64_t r, const Range& x) { return r < x.first; });
  return after != ranges_.begin() && row <= std::prev(after)->last;
}

bool IndexSet::includes(const IndexSet& other) const {
  // Ranges of a set do not touch, so a range of `other` lies within one of ours or is not included.
  return std::all_of(other.ranges_.begin(), other.ranges_.end(), [this](const Range& range) {
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), range.first,
                                        [](std::int64_t r, const Range& x) { return r < x.first; });
    return after != ranges_.begin() && range.last <= std::prev(after)->last;
  });
}

std::vector<std::int64_t> IndexSet::first(std::size_t at_most) const {
  std::vector<std::int64_t> rows;
  for (const Range& range : ranges_) {
    for (std::int64_t row = range.first; row <= range.last; ++row) {
      if (rows.size() == at_most) return rows;
      rows.push_back(row);
    }
  }
  return rows;
}

}  // namespace qx
