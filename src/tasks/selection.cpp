// Choosing rows.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/selection.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "base/error.h"
#include "base/random.h"

namespace qx {
namespace {

// A place in a sample: (2 k + 1) / (2 n), compared as fractions.
struct Position {
  std::int64_t k = 0, n = 1;
  int gold = 0;
  std::int64_t row = 0;
};

bool comes_before(const Position& a, const Position& b) {
  // A data file has less than 2^31 rows: it would be larger than memory otherwise.
  const std::int64_t left = (2 * a.k + 1) * b.n, right = (2 * b.k + 1) * a.n;
  return left != right ? left < right : a.gold < b.gold;
}

// All rows after the offset, in the order in which samples take them.
std::vector<std::int64_t> sample_order(std::int64_t offset, std::int64_t rows, std::uint64_t seed,
                                       const std::function<int(std::int64_t)>& gold_of) {
  std::map<int, std::vector<std::int64_t>> by_gold;
  for (std::int64_t row = offset; row < rows; ++row) by_gold[gold_of(row)].push_back(row);
  Random random(seed);
  std::vector<Position> positions;
  for (auto& [gold, members] : by_gold) {
    for (std::size_t left = members.size(); left > 1; --left) {
      std::swap(members[left - 1], members[random.below(left)]);
    }
    const auto n = static_cast<std::int64_t>(members.size());
    for (std::int64_t k = 0; k < n; ++k) {
      positions.push_back({k, n, gold, members[static_cast<std::size_t>(k)]});
    }
  }
  std::sort(positions.begin(), positions.end(), comes_before);
  std::vector<std::int64_t> order;
  for (const Position& position : positions) order.push_back(position.row);
  return order;
}

std::vector<std::int64_t> listed_rows(const IndexList& list, std::string_view task,
                                      std::string_view file, std::int64_t rows) {
  auto found = list.by_task.find("");
  if (found == list.by_task.end()) found = list.by_task.find(task);
  if (found == list.by_task.end()) {
    fail(list.file, "names no row of {}, expected at least one, or leave the task out", task);
  }
  std::vector<std::int64_t> selected;
  for (const IndexList::Entry& entry : found->second) {
    if (entry.row >= rows) {
      fail(entry.place, "got row {}, expected less than the {} rows of {}", entry.row, rows, file);
    }
    selected.push_back(entry.row);
  }
  return selected;
}

// In the order in which shards take turns.
std::vector<std::int64_t> ordered_rows(const Selection& selection, std::string_view task,
                                       std::string_view file, std::int64_t rows,
                                       const std::function<int(std::int64_t)>& gold_of) {
  if (selection.indices) return listed_rows(*selection.indices, task, file, rows);
  if (selection.offset >= rows) {
    fail(file, "got --offset {}, expected less than its {} rows", selection.offset, rows);
  }
  const std::int64_t left = rows - selection.offset;
  if (selection.sample) {
    std::vector<std::int64_t> order =
        sample_order(selection.offset, rows, selection.sample->seed, gold_of);
    order.resize(static_cast<std::size_t>(std::min(left, selection.sample->size)));
    return order;
  }
  std::vector<std::int64_t> order(
      static_cast<std::size_t>(std::min(left, selection.limit.value_or(left))));
  std::iota(order.begin(), order.end(), selection.offset);
  return order;
}

}  // namespace

Shard parse_shard(std::string_view text) {
  Shard shard;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, shard.index);
  bool good = first.ec == std::errc() && first.ptr != end && *first.ptr == '/';
  if (good) {
    const auto second = std::from_chars(first.ptr + 1, end, shard.count);
    good = second.ec == std::errc() && second.ptr == end;
  }
  if (!good || shard.index < 1 || shard.index > shard.count || shard.count > 1000000) {
    throw UsageError(
        fmt::format("--shard: got '{}', expected i/n with i from 1 to n, such as 2/4", text));
  }
  return shard;
}

Json selection_json(const Selection& s) {
  Json json;
  json["kind"] = s.indices ? "indices" : s.sample ? "sample" : "rows";
  json["offset"] = s.offset;
  json["limit"] = s.limit ? Json(*s.limit) : Json();
  json["sample"] = s.sample ? Json(s.sample->size) : Json();
  json["seed"] = s.sample ? Json(s.sample->seed) : Json();
  json["indices_file"] = s.indices ? Json(s.indices->file) : Json();
  json["shard"] =
      s.shard.count > 1 ? Json(fmt::format("{}/{}", s.shard.index, s.shard.count)) : Json();
  return json;
}

SelectedRows select_rows(const Selection& selection, std::string_view task, std::string_view file,
                         std::int64_t rows, const std::function<int(std::int64_t)>& gold_of) {
  SelectedRows selected;
  selected.all = ordered_rows(selection, task, file, rows, gold_of);
  const auto step = static_cast<std::size_t>(selection.shard.count);
  for (auto i = static_cast<std::size_t>(selection.shard.index - 1); i < selected.all.size();
       i += step) {
    selected.shard.push_back(selected.all[i]);
  }
  std::sort(selected.all.begin(), selected.all.end());
  std::sort(selected.shard.begin(), selected.shard.end());
  return selected;
}

}  // namespace qx
