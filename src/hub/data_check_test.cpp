// What is found in folders with known faults.
// SPDX-License-Identifier: Apache-2.0
#include "hub/data_check.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"
#include "hub/sources.h"
#include "support/test_folder.h"

namespace qx {
namespace {

std::string piqa(const std::string& goal, int label, const std::string& first = "a") {
  return R"({"goal": ")" + goal + R"(", "sol1": ")" + first + R"(", "sol2": "b", "label": )" +
         std::to_string(label) + "}\n";
}

TaskCheck check(const TestFolder& folder, bool required = true) {
  CheckOptions options;
  options.folder = folder / "";
  options.examples = 3;
  return check_task_data(*find_task("piqa"), options, required);
}

bool any(const std::vector<std::string>& texts, const std::string& part) {
  return std::any_of(texts.begin(), texts.end(),
                     [&](const std::string& t) { return t.find(part) != std::string::npos; });
}

TEST(DataCheck, CountsAnswersChoicesAndLengths) {
  const TestFolder folder;
  write_text(folder / "piqa.jsonl",
             piqa("one", 0) + piqa("two longer", 1) + piqa("t", 1) + "\n \n");
  const FileCheck c = check(folder).evaluation;
  EXPECT_EQ(c.rows, 3);
  EXPECT_EQ(c.published, 1838);
  EXPECT_EQ(c.gold.at(0), 1);
  EXPECT_EQ(c.gold.at(1), 2);
  EXPECT_DOUBLE_EQ(c.majority_share, 2.0 / 3.0);
  EXPECT_EQ(c.choices.at(2), 3);
  EXPECT_EQ(c.shortest_line, 3);
  EXPECT_EQ(c.longest_line, 2);
  EXPECT_EQ(c.longest - c.shortest, 9);
  EXPECT_EQ(c.record, "none");
  EXPECT_EQ(c.sha256, sha256_file(folder / "piqa.jsonl"));
  EXPECT_TRUE(c.errors.empty());
  EXPECT_TRUE(any(c.warnings, "3 of the 1838 rows published"));
}

TEST(DataCheck, AllUnreadableLinesAreNamedUpToALimit) {
  const TestFolder folder;
  std::string text = piqa("one", 0) + "\n" + "{broken\n" + piqa("x", 5) + "{}\n\n" + piqa("y", 1);
  write_text(folder / "piqa.jsonl", text);
  const FileCheck c = check(folder).evaluation;
  EXPECT_EQ(c.rows, 7);
  EXPECT_EQ(c.fault_count, 5);
  ASSERT_EQ(c.faults.size(), 3u);
  EXPECT_EQ(c.faults[0].line, 2);
  EXPECT_EQ(c.faults[1].line, 3);
  EXPECT_EQ(c.faults[2].line, 4);
  EXPECT_TRUE(any(c.errors, "line 2: got an empty line"));
  EXPECT_TRUE(any(c.errors, "line 4: gold answer: got index 5"));
  EXPECT_TRUE(any(c.errors, "2 more lines cannot be read"));
}

TEST(DataCheck, DoublesAndContradictions) {
  const TestFolder folder;
  write_text(folder / "piqa.jsonl", piqa("one", 0) + piqa("two", 1) + piqa("one", 0) +
                                        piqa("one", 1, "c") + piqa("two", 0));
  const FileCheck c = check(folder).evaluation;
  EXPECT_EQ(c.duplicate_count, 1);
  EXPECT_EQ(c.duplicates.at(0).first, 1);
  EXPECT_EQ(c.duplicates.at(0).second, 3);
  EXPECT_EQ(c.same_question_count, 3);
  EXPECT_EQ(c.contradiction_count, 1);
  EXPECT_EQ(c.contradictions.at(0).second, 5);
  EXPECT_TRUE(any(c.warnings, "1 rows occur again: lines 1 and 3"));
  EXPECT_TRUE(any(c.warnings, "another answer: lines 2 and 5"));
}

TEST(DataCheck, OneAnswerForAllIsSuspect) {
  const TestFolder folder;
  std::string text;
  for (int i = 0; i < 40; ++i) text += piqa("q" + std::to_string(i), i == 0 ? 0 : 1);
  write_text(folder / "piqa.jsonl", text);
  EXPECT_TRUE(any(check(folder).evaluation.warnings, "97.5 % of the rows have the same answer"));
}

TEST(DataCheck, ExamplesThatAreQuestionsToo) {
  const TestFolder folder;
  write_text(folder / "piqa.jsonl", piqa("one", 0) + piqa("two", 1));
  write_text(folder / "piqa.train.jsonl", piqa("other", 0) + piqa("two", 0));
  const FileCheck c = check(folder).train;
  EXPECT_EQ(c.overlap_count, 1);
  EXPECT_EQ(c.overlap.at(0).first, 2);
  EXPECT_EQ(c.overlap.at(0).second, 2);
  EXPECT_TRUE(any(c.warnings, "1 rows are evaluation items too"));
}

TEST(DataCheck, FilesAgainstTheirRecord) {
  const TestFolder folder;
  const std::string text = piqa("one", 0);
  write_text(folder / "piqa.jsonl", text);
  SourceRecord record;
  record.sha256 = sha256_hex(text);
  record.revision = "abc";
  save_source_record(folder / "", "piqa.jsonl", record);
  EXPECT_EQ(check(folder).evaluation.record, "same");
  EXPECT_EQ(check(folder).evaluation.revision, "abc");
  write_text(folder / "piqa.jsonl", piqa("two", 0));
  EXPECT_EQ(check(folder).evaluation.record, "differs");
  EXPECT_TRUE(any(check(folder).evaluation.errors, "SHA-256"));
  write_text(folder / "sources.json", "[");
  EXPECT_TRUE(any(check(folder).evaluation.warnings, "sources.json"));
}

TEST(DataCheck, MissingAndEmptyFiles) {
  const TestFolder folder;
  EXPECT_TRUE(any(check(folder).evaluation.errors, "is missing"));
  EXPECT_TRUE(check(folder, false).evaluation.errors.empty());
  EXPECT_FALSE(check(folder).evaluation.present);
  write_text(folder / "piqa.jsonl", "\n\n");
  EXPECT_TRUE(any(check(folder).evaluation.errors, "holds no rows"));
}

TEST(DataCheck, TheShippedSetsAreSound) {
  ::unsetenv("QX_DATA");
  ::setenv("QX_CACHE", "/nonexistent", 1);
  for (const Task& task : all_tasks()) {
    const TaskCheck c = check_task_data(task, {}, true);
    EXPECT_EQ(c.evaluation.origin, "shipped");
    EXPECT_TRUE(c.evaluation.errors.empty()) << task.name;
    EXPECT_EQ(c.evaluation.duplicate_count, 0) << task.name;
    EXPECT_EQ(c.evaluation.contradiction_count, 0) << task.name;
    EXPECT_GT(c.evaluation.rows, 10) << task.name;
  }
  ::unsetenv("QX_CACHE");
}

}  // namespace
}  // namespace qx
