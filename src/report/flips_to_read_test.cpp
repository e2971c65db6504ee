// SPDX-License-Identifier: Apache-2.0
#include "report/flips_to_read.h"

#include <gtest/gtest.h>

#include "base/hash.h"
#include "compare/run_results.h"
#include "io/json.h"
#include "runs/answer_log.h"
#include "support/test_folder.h"
#include "tasks/task.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr int kItems = 40;

Json question(int i) {
  return {{"id", std::to_string(i)},
          {"question", "Number " + std::to_string(i) + "?"},
          {"choices", {{"text", {"one", "two"}}, {"label", {"A", "B"}}}},
          {"answerKey", "A"}};
}

// picks: choice of each item; its value is above the other's by 1 + i / 100.
void write_run(const fs::path& folder, const fs::path& data, const std::vector<int>& picks) {
  fs::create_directories(folder);
  std::string answers;
  for (int i = 0; i < kItems; ++i) {
    Answer answer;
    answer.task = "arc_easy";
    answer.index = i;
    answer.doc_hash = document_hash(question(i));
    answer.gold = 0;
    answer.choices.resize(2);
    for (int c = 0; c < 2; ++c) {
      ChoiceAnswer& choice = answer.choices[static_cast<std::size_t>(c)];
      choice.ll = c == picks[static_cast<std::size_t>(i)] ? -3 : -4 - i / 100.0;
      choice.tokens = choice.chars = choice.bytes = 1;
    }
    answer.acc = picks[static_cast<std::size_t>(i)] == 0;
    answer.acc_norm = answer.acc;
    answers += answer_line(answer) + "\n";
  }
  write_text(folder / "answers-arc_easy.jsonl", answers);
  const Json run{{"mode", "plain"},
                 {"convention", "lm-eval"},
                 {"few_shot", 0},
                 {"model", {{"path", "/nowhere"}}},
                 {"tasks",
                  {{"arc_easy",
                    {{"data", (data / "arc_easy.jsonl").string()},
                     {"origin", "--data"},
                     {"description", "shipped"},
                     {"items", kItems}}}}},
                 {"end", "x"}};
  write_text(folder / "run.json", run.dump());
}

// A baseline that is always right and a variant that is wrong in every second item.
struct Runs {
  explicit Runs(const TestFolder& root, bool with_data = true) {
    fs::create_directories(root / "data");
    std::string rows;
    for (int i = 0; i < kItems; ++i) rows += question(i).dump() + "\n";
    if (with_data) write_text(root / "data" / "arc_easy.jsonl", rows);
    std::vector<int> right(kItems, 0), half(kItems, 0);
    for (int i = 0; i < kItems; i += 2) half[static_cast<std::size_t>(i)] = 1;
    folders = {root / "base", root / "q4"};
    write_run(folders[0], root / "data", right);
    write_run(folders[1], root / "data", half);
    runs = load_runs(folders, Metric::kDefault).runs;
  }
  std::vector<fs::path> folders;
  std::vector<RunResults> runs;
};

TEST(FlipsToRead, HoldPromptChoicesAndValuesOfBoth) {
  const TestFolder root;
  const Runs runs(root);
  const FlipsToRead read = flips_to_read(runs.runs, 0, runs.folders, {});
  ASSERT_EQ(read.lists.size(), 1u);
  const FlipList& list = read.lists[0];
  EXPECT_EQ(list.variant, "q4");
  EXPECT_EQ(list.metric, "acc_norm");
  EXPECT_EQ(list.items, kItems);
  EXPECT_EQ(list.counts, (std::array<std::int64_t, 3>{20, 0, 0}));
  EXPECT_EQ(list.left_out, 0);
  ASSERT_EQ(list.flips.size(), 20u);
  const FlipToRead& first = list.flips[0];
  EXPECT_EQ(first.flip.index, 38);  // moved most
  EXPECT_EQ(first.values_from, (std::vector<double>{-3, -4.38}));
  EXPECT_EQ(first.values_to, (std::vector<double>{-4.38, -3}));
  const AskedItem& item = read.items.at(first.item);
  EXPECT_EQ(item.index, 38);
  EXPECT_EQ(item.prompt, "Question: Number 38?\nAnswer:");
  EXPECT_EQ(item.choices, (std::vector<std::string>{"one", "two"}));
  EXPECT_FALSE(item.as_sent);
  ASSERT_EQ(read.notes.size(), 1u);  // the model is not there
  EXPECT_NE(read.notes[0].find("/nowhere"), std::string::npos);
}

TEST(FlipsToRead, CountWhatTheyLeaveOut) {
  const TestFolder root;
  const Runs runs(root);
  FlipSettings few;
  few.per_task = 3;
  const FlipsToRead read = flips_to_read(runs.runs, 0, runs.folders, few);
  ASSERT_EQ(read.lists[0].flips.size(), 3u);
  EXPECT_EQ(read.lists[0].left_out, 17);
  EXPECT_EQ(read.lists[0].counts[0], 20);
  EXPECT_EQ(read.items.size(), 3u);
  FlipSettings small;
  small.page_bytes = 2000;
  const FlipsToRead budget = flips_to_read(runs.runs, 0, runs.folders, small);
  EXPECT_GT(budget.lists[0].flips.size(), 1u);
  EXPECT_LT(budget.lists[0].flips.size(), 10u);
  EXPECT_EQ(budget.lists[0].left_out, 20 - static_cast<std::int64_t>(budget.lists[0].flips.size()));
  EXPECT_EQ(budget.items.size(), budget.lists[0].flips.size());
  few.per_task = 0;
  EXPECT_EQ(flips_to_read(runs.runs, 0, runs.folders, few).lists[0].left_out, 20);
}

TEST(FlipsToRead, WithoutDataTheNumbersStay) {
  const TestFolder root;
  const Runs runs(root, false);
  const FlipsToRead read = flips_to_read(runs.runs, 0, runs.folders, {});
  ASSERT_EQ(read.lists[0].flips.size(), 20u);
  EXPECT_TRUE(read.items[0].prompt.empty());
  EXPECT_TRUE(read.items[0].choices.empty());
  EXPECT_EQ(read.notes.size(), 2u);
}

TEST(ShortenMiddle, CutsBetweenCharactersAndCounts) {
  std::int64_t cut = 0;
  EXPECT_EQ(shorten_middle("short", 5, cut), "short");
  EXPECT_EQ(cut, 0);
  EXPECT_EQ(shorten_middle("abcdefghij", 4, cut), "ab\n[.. 6 bytes left out ..]\nij");
  EXPECT_EQ(cut, 6);
  // Each of these is three bytes: limits that fall inside one move outwards.
  const std::string han = "\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\xE5\xAD\x97";
  for (std::size_t limit = 0; limit < han.size(); ++limit) {
    std::int64_t left = 0;
    const std::string text = shorten_middle(han, limit, left);
    EXPECT_TRUE(is_valid_utf8(text)) << limit;
    EXPECT_EQ(left % 3, 0) << limit;
  }
}

}  // namespace
}  // namespace qx
