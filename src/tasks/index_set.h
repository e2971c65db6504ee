// A set of row numbers, written as "0-99,105": what run.json says about the items of a run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

// Memory grows with the number of ranges, not with the number of rows.
class IndexSet {
 public:
  IndexSet() = default;
  // rows: at least 0, rising, each once.
  explicit IndexSet(std::span<const std::int64_t> rows);
  // Reads text(): ranges that rise and do not touch. Fails: Error at `place`.
  static IndexSet parse(std::string_view text, std::string_view place);

  std::string text() const;  // "" for the empty set
  std::string hash() const;  // SHA-256 of text()
  std::int64_t count() const;
  bool contains(std::int64_t row) const;
  bool includes(const IndexSet& other) const;  // every row of `other` is in this set
  std::vector<std::int64_t> first(std::size_t at_most) const;  // the smallest rows

  bool operator==(const IndexSet&) const = default;

 private:
  struct Range {
    std::int64_t first = 0, last = 0;  // both are in the set
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> ranges_;
};

}  // namespace qx
