// Which rows of which file are read, and the shipped files.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/dataset.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/error.h"
#include "support/test_folder.h"

namespace qx {
namespace {

std::string piqa_row(int i) {
  return R"({"goal": "g)" + std::to_string(i) + R"(", "sol1": "a", "sol2": "b", "label": 1})";
}

class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    ::setenv(name, value.c_str(), 1);
  }
  ~Environment() { ::unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
};

TEST(Dataset, RowsAndRanges) {
  const std::string text = piqa_row(0) + "\n" + piqa_row(1) + "\r\n" + piqa_row(2) + "\n\n";
  const Task& task = *find_task("piqa");
  const TaskData all = parse_task_data(task, text, "f", {});
  ASSERT_EQ(all.items.size(), 3u);
  EXPECT_EQ(all.rows, 3);
  EXPECT_EQ(all.items[2].place, "f:3");
  const TaskData middle = parse_task_data(task, text, "f", {1, 1});
  ASSERT_EQ(middle.items.size(), 1u);
  EXPECT_EQ(middle.items[0].index, 1);
  EXPECT_EQ(middle.items[0].item.contexts[0], "Question: g1\nAnswer:");
  EXPECT_EQ(middle.items[0].doc_hash, all.items[1].doc_hash);
  EXPECT_EQ(middle.hash, all.hash);
  EXPECT_EQ(parse_task_data(task, text, "f", {2, INT64_MAX}).items.size(), 1u);
  EXPECT_THROW(parse_task_data(task, text, "f", {3, {}}), Error);
  EXPECT_THROW(parse_task_data(task, "", "f", {}), Error);
}

TEST(Dataset, BrokenLinesAreNamed) {
  const auto message = [](const std::string& text) -> std::string {
    try {
      parse_task_data(*find_task("piqa"), text, "f.jsonl", {});
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message(piqa_row(0) + "\n{\"goal\": \n").substr(0, 11), "[f.jsonl:2]");
  EXPECT_EQ(message(piqa_row(0) + "\n\n" + piqa_row(1)).substr(0, 11), "[f.jsonl:2]");
  EXPECT_EQ(message(piqa_row(0) + "\n" + R"({"goal": 1})").substr(0, 11), "[f.jsonl:2]");
  EXPECT_EQ(message(piqa_row(0).substr(0, 5) + "\xFF\n").substr(0, 11), "[f.jsonl:1]");
}

TEST(Dataset, SourcesInTheirOrder) {
  const TestFolder temp;
  for (const char* name : {"option", "environment", "cache/tasks"}) {
    std::filesystem::create_directories(temp / name);
  }
  const Environment cache("QX_CACHE", (temp / "cache").string());
  ::unsetenv("QX_DATA");
  const Task& task = *find_task("piqa");
  EXPECT_EQ(load_task_data(task, {}, {}).origin, "shipped");
  write_text(temp / "cache/tasks/piqa.jsonl", piqa_row(0));
  EXPECT_EQ(load_task_data(task, {}, {}).origin, "cache");
  {
    const Environment data("QX_DATA", (temp / "environment").string());
    EXPECT_THROW(load_task_data(task, {}, {}), Error);  // named, so it must be there
    write_text(temp / "environment/piqa.jsonl", piqa_row(0));
    EXPECT_EQ(load_task_data(task, {}, {}).origin, "$QX_DATA");
    EXPECT_THROW(load_task_data(task, temp / "option", {}), Error);
    write_text(temp / "option/piqa.jsonl", piqa_row(0));
    EXPECT_EQ(load_task_data(task, temp / "option", {}).origin, "--data");
  }
}

TEST(Dataset, OwnTasksHaveTheirDataBesideTheDescription) {
  const TestFolder temp;
  const Environment cache("QX_CACHE", (temp / "cache").string());
  ::unsetenv("QX_DATA");
  std::filesystem::create_directories(temp / "data");
  write_text(temp / "quiz.json",
             R"({"name": "quiz", "context": "{goal}", "choices": ["{sol1}", "{sol2}"],
      "gold": {"index": "label"}, "metrics": ["acc"]})");
  const Task task = load_task(temp / "quiz.json");
  EXPECT_THROW(load_task_data(task, {}, {}), Error);
  EXPECT_THROW(load_task_data(task, temp / "data", {}), Error);
  write_text(temp / "quiz.jsonl", piqa_row(0) + "\n" + piqa_row(1));
  EXPECT_EQ(load_task_data(task, {}, {}).origin, "beside the description");
  EXPECT_EQ(load_task_data(task, temp / "data", {}).items.size(), 2u);
  write_text(temp / "data/quiz.jsonl", piqa_row(0));
  EXPECT_EQ(load_task_data(task, {}, {}).items.size(), 2u);
  EXPECT_EQ(load_task_data(task, temp / "data", {}).origin, "--data");
  const Environment data("QX_DATA", (temp / "data").string());
  EXPECT_EQ(load_task_data(task, {}, {}).origin, "$QX_DATA");
}

TEST(Dataset, ShippedFilesAreWhole) {
  const TestFolder temp;
  const Environment cache("QX_CACHE", (temp / "none").string());
  ::unsetenv("QX_DATA");
  for (const Task& task : all_tasks()) {
    SCOPED_TRACE(task.name);
    const TaskData data = load_task_data(task, {}, {});
    EXPECT_EQ(data.origin, "shipped");
    EXPECT_GE(data.rows, 40);
    EXPECT_EQ(static_cast<std::int64_t>(data.items.size()), data.rows);
    std::set<std::string> distinct;
    for (const DataItem& item : data.items) distinct.insert(item.doc_hash);
    EXPECT_EQ(distinct.size(), data.items.size());
  }
}

}  // namespace
}  // namespace qx
