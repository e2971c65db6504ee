// The chosen rows: nested, stratified, split without loss.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "tasks/dataset.h"
#include "tasks/index_set.h"

namespace qx {
namespace {

using Rows = std::vector<std::int64_t>;

int no_gold(std::int64_t /*row*/) {
  ADD_FAILURE() << "only a sample reads gold answers";
  return 0;
}

SelectedRows select(const Selection& selection, std::int64_t rows,
                    const std::function<int(std::int64_t)>& gold = no_gold) {
  return select_rows(selection, "piqa", "piqa.jsonl", rows, gold);
}

std::string selection_error(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

Selection sample_of(std::int64_t size, std::uint64_t seed, std::int64_t offset = 0) {
  Selection selection;
  selection.offset = offset;
  selection.sample = Sample{size, seed};
  return selection;
}

Selection listed(const std::string& text) {
  Selection selection;
  selection.indices = parse_index_list(text, "list");
  return selection;
}

TEST(Selection, RowsFromTheOffsetUpToTheLimit) {
  EXPECT_EQ(select({}, 3).all, (Rows{0, 1, 2}));
  EXPECT_EQ(select({1, 2}, 5).all, (Rows{1, 2}));
  EXPECT_EQ(select({3, 9}, 5).all, (Rows{3, 4}));
  EXPECT_NE(selection_error([] { select({5}, 5); }).find("less than its 5 rows"),
            std::string::npos);
}

TEST(Selection, SamplesAreNestedStratifiedAndDependOnTheSeedAlone) {
  Random random(11);
  for (int trial = 0; trial < 40; ++trial) {
    const auto rows = static_cast<std::int64_t>(20 + random.below(300));
    const auto answers = 1 + random.below(5);
    std::vector<int> gold;
    std::vector<double> share(answers);
    for (std::int64_t i = 0; i < rows; ++i) {
      gold.push_back(static_cast<int>(random.below(1 + random.below(answers))));
      share[static_cast<std::size_t>(gold.back())] += 1.0 / static_cast<double>(rows);
    }
    const auto gold_of = [&](std::int64_t row) { return gold[static_cast<std::size_t>(row)]; };
    Rows before;
    for (std::int64_t size = 1; size <= rows; ++size) {
      const Rows now = select(sample_of(size, 7), rows, gold_of).all;
      ASSERT_EQ(now.size(), static_cast<std::size_t>(size));
      ASSERT_TRUE(std::is_sorted(now.begin(), now.end()));
      ASSERT_TRUE(std::includes(now.begin(), now.end(), before.begin(), before.end())) << size;
      for (std::size_t g = 0; g < answers; ++g) {
        const auto count = std::count_if(now.begin(), now.end(), [&](std::int64_t row) {
          return gold_of(row) == static_cast<int>(g);
        });
        // Webster's rounding: off by at most 1/2, and by the rounding of all the others together.
        const double wanted = share[g] * static_cast<double>(size);
        ASSERT_LE(std::fabs(static_cast<double>(count) - wanted),
                  0.5 + share[g] * static_cast<double>(answers) / 2 + 1e-9);
      }
      before = now;
    }
    EXPECT_EQ(select(sample_of(rows + 9, 7), rows, gold_of).all.size(), before.size());
    EXPECT_EQ(select(sample_of(10, 7), rows, gold_of).all,
              select(sample_of(10, 7), rows, gold_of).all);
    EXPECT_NE(select(sample_of(10, 7), rows, gold_of).all,
              select(sample_of(10, 8), rows, gold_of).all);
    for (const std::int64_t row : select(sample_of(5, 1, 10), rows, gold_of).all)
      EXPECT_GE(row, 10);
  }
}

TEST(Selection, TheSameSeedGivesTheseRowsForEver) {
  // From a program of its own in Python, written after the description in selection.h.
  const auto gold_of = [](std::int64_t row) { return static_cast<int>(row % 3 == 0); };
  EXPECT_EQ(select(sample_of(6, 1), 30, gold_of).all, (Rows{0, 2, 5, 15, 16, 22}));
}

TEST(Selection, ShardsTakeEveryItemOnceAndGrowWithTheSelection) {
  const auto gold_of = [](std::int64_t row) { return static_cast<int>(row % 4); };
  Selection limit;
  for (const bool sampled : {false, true}) {
    for (const std::int64_t count : {1, 2, 3, 7, 64}) {
      std::set<std::int64_t> all;
      std::size_t smallest = SIZE_MAX, largest = 0;
      for (std::int64_t index = 1; index <= count; ++index) {
        const auto shard_of = [&](std::int64_t size) {
          Selection selection = sampled ? sample_of(size, 3) : Selection{0, size};
          selection.shard = {index, count};
          return select(selection, 90, gold_of);
        };
        const SelectedRows small = shard_of(20), large = shard_of(50);
        EXPECT_EQ(large.all.size(), 50u);
        EXPECT_TRUE(std::includes(large.shard.begin(), large.shard.end(), small.shard.begin(),
                                  small.shard.end()));
        for (const std::int64_t row : large.shard) EXPECT_TRUE(all.insert(row).second) << row;
        smallest = std::min(smallest, large.shard.size());
        largest = std::max(largest, large.shard.size());
        EXPECT_TRUE(std::is_sorted(large.shard.begin(), large.shard.end()));
      }
      EXPECT_EQ(all.size(), 50u);
      EXPECT_LE(largest - smallest, 1u);
    }
  }
}

TEST(Selection, ShardsAreWrittenAsFractions) {
  EXPECT_EQ(parse_shard("2/4").index, 2);
  EXPECT_EQ(parse_shard("2/4").count, 4);
  for (const char* bad : {"", "2", "0/4", "5/4", "-1/4", "2/4x", "2/", "/4", "2 /4", "a/b",
                          "1/1000001", "1/99999999999999999999"}) {
    EXPECT_THROW(parse_shard(bad), UsageError) << bad;
  }
}

TEST(Selection, ListsOfRowsInEveryForm) {
  for (const char* text : {"4\n1\n", "# two\n\n 4 \r\n1", "[1, 4]", " [4,{\"index\":1}]\n",
                           "{\"index\": 4, \"gold\": 1}\n1\n"}) {
    EXPECT_EQ(select(listed(text), 5).all, (Rows{1, 4})) << text;
  }
  const char* per_task = "piqa 4\nboolq\t0\n{\"task\":\"piqa\",\"index\":0}\n";
  EXPECT_EQ(select(listed(per_task), 5).all, (Rows{0, 4}));
  EXPECT_EQ(listed(per_task).indices->by_task.at("boolq").size(), 1u);
}

TEST(Selection, WrongListsNameFileAndLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"1\nx\n", "[list:2]"},
      {"1\n\n-2\n", "[list:3]"},
      {"1\n2 3 4\n", "[list:2]"},
      {"1\n1.5\n", "[list:2]"},
      {"99999999999999999999\n", "[list:1]"},
      {"1\n{\"index\":\"1\"}\n", "[list:2]"},
      {"1\n{\"row\":1}\n", "[list:2]"},
      {"1\n{\"index\":1\n", "[list:2]"},
      {"3\n1\n3\n", "[list:3] got row 3 again, expected it once; it is at list:1"},
      {"piqa 3\nboolq 3\npiqa 3\n", "[list:3] got row 3 of piqa again"},
      {"1\npiqa 2\n", "[list:2] names a task, the lines before name none"},
      {"piqa 2\n1\n", "[list:2] names no task, the lines before name one"},
      {"[1, \"2\"]", "[list: element 1]"},
      {"[1, -2]", "[list: element 1]"},
      {"[1, 2", "[list]"},
      {"", "[list] names no row"},
      {"# nothing\n", "[list] names no row"},
      {"[]", "[list] names no row"},
  };
  for (const auto& [text, message] : cases) {
    const std::string error = selection_error([&text = text] { parse_index_list(text, "list"); });
    EXPECT_NE(error.find(message), std::string::npos) << text << " gave " << error;
  }
  EXPECT_NE(selection_error([] {
              select(listed("1\n5\n"), 5);
            }).find("[list:2] got row 5, expected less than the 5 rows of piqa.jsonl"),
            std::string::npos);
  EXPECT_NE(selection_error([] { select(listed("boolq 1"), 5); }).find("names no row of piqa"),
            std::string::npos);
  EXPECT_THROW(read_index_list("/no/such/list"), Error);
}

TEST(Selection, IsAppliedToDataFiles) {
  const Task& task = *find_task("piqa");
  std::string text;
  for (int i = 0; i < 12; ++i) {
    text += fmt::format(R"({{"goal":"{}","sol1":"a","sol2":"b","label":{}}})", i, i % 2) + "\n";
  }
  Selection selection = sample_of(6, 1);
  selection.shard = {2, 3};
  const TaskData data = parse_task_data(task, text, "f", selection);
  EXPECT_EQ(data.selected.size(), 6u);
  ASSERT_EQ(data.items.size(), 2u);
  EXPECT_EQ(data.items[0].item.contexts[0],
            fmt::format("Question: {}\nAnswer:", data.items[0].index));
  Json json;
  put_items(json, data, selection.shard);
  EXPECT_EQ(json["items"], 2);
  EXPECT_EQ(json["of_items"], 6);
  EXPECT_NE(json["of_items_hash"], json["items_hash"]);
  EXPECT_EQ(json["indices"], IndexSet(std::array{data.items[0].index, data.items[1].index}).text());
  selection.shard = {9, 9};
  EXPECT_TRUE(parse_task_data(task, text, "f", selection).items.empty());
}

}  // namespace
}  // namespace qx
