// Which rows of a data file a command asks: --limit, --offset, --sample, --indices, --shard. The choice
// depends on the data and these options alone, so all models of a command get the same items
// (docs/runs.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace qx {

// A file of row numbers: one a line, as `INDEX`, `TASK INDEX`, a JSON number or a JSON object with "index"
// and perhaps "task" (an answer log is one); or a JSON array of such numbers and objects. Either all name a
// task or none does. Empty lines and lines that begin with '#' do not count.
struct IndexList {
  struct Entry {
    std::int64_t row = 0;
    std::string place;  // "file:line", of an array "file: element 3"
  };
  std::string file;
  // Rising by row, each once. The key "" stands for every task, and is then the only one.
  std::map<std::string, std::vector<Entry>, std::less<>> by_task;
};
// Fail: Error for a file that cannot be read, is empty, has another kind of line, a row below 0, or a row
// twice.
IndexList read_index_list(const std::filesystem::path& file);
IndexList parse_index_list(std::string_view text, std::string file);

// Part `index` of `count`, counted from 1.
struct Shard {
  std::int64_t index = 1, count = 1;
};
// "2/4". Fails: UsageError.
Shard parse_shard(std::string_view text);

struct Sample {
  std::int64_t size = 0;
  std::uint64_t seed = 0;
};

// At most one of limit, sample and indices; offset not with indices (checked where options are read).
struct Selection {
  std::int64_t offset = 0;                 // leaves the first rows out
  std::optional<std::int64_t> limit = {};  // the first rows after them; more than there are: all
  std::optional<Sample> sample = {};       // of the rows after the offset; more than there are: all
  std::optional<IndexList> indices = {};
  Shard shard = {};
};

// What run.json says: {"kind": "rows", "sample" or "indices", "offset", "limit", "sample", "seed",
// "indices_file", "shard"}; null for what was not asked.
Json selection_json(const Selection& selection);

struct SelectedRows {
  std::vector<std::int64_t> all;    // of every shard, rising
  std::vector<std::int64_t> shard;  // of this one, rising
};

// gold_of: the gold answer of a row; called for a sample only, once for each row after the offset.
//
// Sample: the rows of each gold answer are shuffled by the seed, row k of n (k from 0) of an answer gets
// the position (k + 1/2) / n, and the sample is the first rows by position (then by answer). Every answer
// thus has its share of the sample, rounded (this is how Webster and Sainte-Lague apportion seats), and
// a larger sample of the same seed contains the smaller one, which largest remainders would not give.
// Shard i of n: every n-th row from the i-th on, in the order of rows, or of a sample's positions: a larger
// limit or sample gives a shard more rows and takes none away.
//
// file, rows: the data file and how many rows it has. Fails: Error for an offset past the end, a row of the
// index list that the file does not have, or a list without this task.
SelectedRows select_rows(const Selection& selection, std::string_view task, std::string_view file,
                         std::int64_t rows, const std::function<int(std::int64_t)>& gold_of);

}  // namespace qx
