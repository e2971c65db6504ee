// Which examples a question gets. Expected draws are CPython's:
// [Random(1234).sample(range(n), k) for ..]; lm-eval itself is compared in tests/parity/test_fewshot.py.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/few_shot.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/test_folder.h"
#include "tasks/dataset.h"

namespace qx {
namespace {

std::string arc_row(const std::string& question) {
  return R"({"question": ")" + question +
         R"(", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"})" + "\n";
}
std::string piqa_row(const std::string& goal, const std::string& extra = "") {
  return R"({"goal": ")" + goal + R"(", "sol1": "a", "sol2": "b", "label": 1)" + extra + "}\n";
}

std::string rows(const std::string& prefix, int count, std::string (*row)(const std::string&)) {
  std::string text;
  for (int i = 0; i < count; ++i) text += row(prefix + std::to_string(i));
  return text;
}

// "Question: p7\nAnswer:" -> "p7"
std::vector<std::string> names(const DataItem& item) {
  std::vector<std::string> list;
  for (const auto& example : item.examples) {
    const std::string& context = example->contexts[0];
    list.push_back(context.substr(10, context.find('\n') - 10));
  }
  return list;
}

TaskData drawn(const char* task, const std::string& text, const std::string& pool, int shots,
               const Selection& selection = {}) {
  TaskData data = parse_task_data(*find_task(task), text, "q.jsonl", selection);
  draw_examples_from(data, {shots, 1234}, text, pool, "p.jsonl");
  return data;
}

using Names = std::vector<std::string>;

TEST(FewShot, OneGeneratorGoesThroughTheFile) {
  const std::string text = rows("q", 3, arc_row), pool = rows("p", 40, arc_row);
  const TaskData all = drawn("arc_easy", text, pool, 3);
  // r = Random(1234); [r.sample(range(40), 3) for _ in range(3)]
  EXPECT_EQ(names(all.items[0]), (Names{"p28", "p7", "p0"}));
  EXPECT_EQ(names(all.items[1]), (Names{"p5", "p37", "p2"}));
  EXPECT_EQ(names(all.items[2]), (Names{"p5", "p6", "p22"}));
  EXPECT_EQ(all.items[0].examples[0]->gold, 1);
  EXPECT_EQ(all.pool.rows, 40);
  EXPECT_EQ(all.pool.hash.size(), 64u);
  // The examples of a row do not depend on which rows are asked.
  const TaskData last = drawn("arc_easy", text, pool, 3, {2, 1});
  EXPECT_EQ(names(last.items[0]), names(all.items[2]));
}

std::string bare_piqa_row(const std::string& goal) {
  return piqa_row(goal);
}

TEST(FewShot, TheQuestionIsNotItsOwnExample) {
  const std::string pool = rows("p", 40, bare_piqa_row);
  // r = Random(1234); [r.sample(range(40), 4) for _ in range(2)]: the first question is the second row drawn.
  const std::string text = piqa_row("p7") + piqa_row("q");
  const TaskData data = drawn("piqa", text, pool, 3);
  EXPECT_EQ(names(data.items[0]), (Names{"p28", "p0", "p5"}));
  EXPECT_EQ(names(data.items[1]), (Names{"p37", "p2", "p5"}));
}

// A row that stands in the pool many times is drawn several times: then others are drawn anew.
TEST(FewShot, CopiesOfTheQuestionAreAllLeftOut) {
  std::string pool;
  for (int i = 0; i < 8; ++i) pool += piqa_row("same", i % 2 == 0 ? ", \"x\": null" : "");
  pool += piqa_row("p8") + piqa_row("p9");
  const TaskData data = drawn("piqa", piqa_row("same") + piqa_row("q"), pool, 2);
  EXPECT_EQ(names(data.items[0]), (Names{"p8", "p9"}));
  EXPECT_EQ(names(data.items[1]), (Names{"same", "p9"}));
  EXPECT_THROW(drawn("piqa", piqa_row("same"), pool, 3), Error);
}

TEST(FewShot, FirstRows) {
  const Task task = parse_task(
      R"({"name": "t", "context": "Question: {goal}\n", "choices": ["{sol1}", "{sol2}"], "gold": 0,
          "metrics": ["acc"], "few_shot": {"sampler": "first"}})",
      "d");
  const std::string text = rows("q", 3, bare_piqa_row), pool = rows("p", 3, bare_piqa_row);
  TaskData data = parse_task_data(task, text, "q.jsonl", {1, 2});
  draw_examples_from(data, {2, 1}, text, pool, "p.jsonl");
  EXPECT_EQ(names(data.items[0]), (Names{"p0", "p1"}));
  EXPECT_EQ(names(data.items[1]), (Names{"p0", "p1"}));
  EXPECT_THROW(draw_examples_from(data, {4, 1}, text, pool, "p.jsonl"), Error);
}

TEST(FewShot, FirstRowsOfTheQuestionsGroup) {
  const Task task = parse_task(
      R"({"name": "t", "context": "Question: {goal}\n", "choices": ["{sol1}", "{sol2}"], "gold": 0,
          "metrics": ["acc"], "few_shot": {"sampler": "first", "same": "subject"}})",
      "d");
  EXPECT_EQ(task.fields, (Names{"goal", "sol1", "sol2", "subject"}));
  const auto row = [](const std::string& goal, const std::string& subject) {
    return piqa_row(goal, ", \"subject\": \"" + subject + "\"");
  };
  const std::string text = row("q0", "law") + row("q1", "art") + row("q2", "war");
  const std::string pool =
      row("p0", "art") + row("p1", "law") + row("p2", "art") + row("p3", "law");
  TaskData data = parse_task_data(task, text, "q.jsonl", {0, 2});
  draw_examples_from(data, {2, 1}, text, pool, "p.jsonl");
  EXPECT_EQ(names(data.items[0]), (Names{"p1", "p3"}));
  EXPECT_EQ(names(data.items[1]), (Names{"p0", "p2"}));
  TaskData all = parse_task_data(task, text, "q.jsonl", {});
  EXPECT_THROW(draw_examples_from(all, {1, 1}, text, pool, "p.jsonl"), Error);  // no row about war
}

TEST(FewShot, PoolsThatDoNotDo) {
  const std::string text = rows("q", 2, arc_row);
  const auto error = [&](const std::string& pool, int shots) -> std::string {
    try {
      drawn("arc_easy", text, pool, shots);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(error(rows("p", 2, arc_row), 3),
            "[p.jsonl] got 2 rows to draw from, expected at least 3 for --shots 3");
  EXPECT_EQ(error("", 1), "[p.jsonl] got 0 rows to draw from, expected at least 1 for --shots 1");
  EXPECT_EQ(error("{\"question\": 1}\n", 1),
            "[p.jsonl:1] field 'question': got number, expected a string");
  EXPECT_EQ(error("{\n", 1).substr(0, 11), "[p.jsonl:1]");
}

TEST(FewShot, ThePoolLiesBesideTheData) {
  const TestFolder temp;
  write_text(temp / "arc_easy.jsonl", rows("q", 2, arc_row));
  const Task& task = *find_task("arc_easy");
  TaskData data = load_task_data(task, temp / "", {});
  draw_examples(data, {0, 1});
  EXPECT_TRUE(data.items[0].examples.empty());
  EXPECT_THROW(draw_examples(data, {1, 1}), Error);
  write_text(temp / "arc_easy.train.jsonl", rows("p", 2, arc_row));
  draw_examples(data, {1, 1});
  EXPECT_EQ(data.items[1].examples.size(), 1u);
  EXPECT_EQ(data.pool.file, (temp / "arc_easy.train.jsonl").string());
  write_text(temp / "arc_easy.jsonl", rows("other", 2, arc_row));
  EXPECT_THROW(draw_examples(data, {1, 1}), Error);
  TaskData shipped = parse_task_data(task, rows("q", 1, arc_row), "arc_easy.jsonl", {});
  shipped.origin = "shipped";
  EXPECT_THROW(draw_examples(shipped, {1, 1}), Error);
}

}  // namespace
}  // namespace qx
