// Descriptions of tasks that users write: what they give, and what a wrong one gets.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/test_folder.h"
#include "tasks/task.h"

namespace qx {
namespace {

using Texts = std::vector<std::string>;

// A description that is right, one member a line, with one member replaced or (an empty text) left out.
std::string description(const std::string& key = "", const std::string& value = "") {
  const std::vector<std::pair<std::string, std::string>> members = {
      {"name", "\"quiz\""},
      {"version", "1.5"},
      {"data", "{\"hub\": \"me/quiz\", \"split\": \"test\", \"rows\": 9}"},
      {"context", "\"{q}\""},
      {"choices", "[\"{a}\", \"{b}\"]"},
      {"gold", "{\"index\": \"label\"}"},
      {"metrics", "[\"acc\"]"}};
  std::string text = "{";
  bool replaced = false;
  const auto add = [&text](const std::string& k, const std::string& v) {
    text += (text == "{" ? "\n" : ",\n") + ("\"" + k + "\": " + v);
  };
  for (const auto& [k, v] : members) {
    replaced = replaced || k == key;
    if (k != key) add(k, v);
    if (k == key && !value.empty()) add(k, value);
  }
  if (!key.empty() && !replaced) add(key, value);
  return text + "\n}\n";
}

std::string description_error(const std::string& text) {
  try {
    parse_task(text, "quiz.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(TaskDescription, WhatItSaysIsThere) {
  const Task task = parse_task(description(), "quiz.json");
  EXPECT_EQ(task.name, "quiz");
  EXPECT_EQ(task.version, 1.5);
  EXPECT_EQ(task.metrics(), Texts{"acc"});
  EXPECT_EQ(task.data.hub, "me/quiz");
  EXPECT_EQ(task.data.config, "default");
  EXPECT_EQ(task.data.rows, 9);
  EXPECT_EQ(task.fields, (Texts{"a", "b", "label", "q"}));
  EXPECT_FALSE(task.shipped());
  EXPECT_EQ(task.description_hash.size(), 64u);
  EXPECT_FALSE(task.cloze);
  const TaskItem item =
      task.read_item(parse_json(R"({"q": "Q", "a": "x", "b": "y", "label": " 1 "})", "row"), "f:1");
  EXPECT_EQ(item.contexts, Texts{"Q"});
  EXPECT_EQ(item.continuations, (Texts{"x", "y"}));
  EXPECT_EQ(item.gold, 1);
}

TEST(TaskDescription, FormsOfGold) {
  const Json row = parse_json(
      R"({"q": "Q", "a": "x", "b": "y", "label": 2, "name": "B", "names": ["B", "A"], "answer": "y"})",
      "row");
  const auto gold = [&row](const std::string& rule) {
    return parse_task(description("gold", rule), "d").read_item(row, "f:1").gold;
  };
  EXPECT_EQ(gold("1"), 1);
  EXPECT_EQ(gold(R"({"index": "label", "first": 1})"), 1);
  EXPECT_EQ(gold(R"({"label": "{name}", "labels": ["A", "B"]})"), 1);
  EXPECT_EQ(gold(R"({"label": "{name}", "labels": "names"})"), 0);
  EXPECT_EQ(gold(R"({"text": "{answer}"})"), 1);
  EXPECT_EQ(gold(R"({"text": {"text": "{a}", "filters": ["strip"]}})"), 0);
  EXPECT_THROW(gold(R"({"index": "label"})"), Error);
  EXPECT_THROW(gold(R"({"text": "{q}"})"), Error);
}

TEST(TaskDescription, QuestionsAboutOneTextShareACluster) {
  const Json row = parse_json(
      R"({"q": "Q", "a": "x", "b": "y", "label": 1, "story": {"text": "abc"}, "n": 3})", "row");
  EXPECT_EQ(parse_task(description(), "d").read_item(row, "f:1").cluster, "");
  const Task task = parse_task(description("cluster", "\"story.text\""), "d");
  EXPECT_EQ(task.fields, (Texts{"a", "b", "label", "q", "story"}));
  // The well-known SHA-256 of "abc".
  EXPECT_EQ(task.read_item(row, "f:1").cluster, "ba7816bf8f01cfea");
  EXPECT_THROW(parse_task(description("cluster", "\"n\""), "d").read_item(row, "f:1"), Error);
  EXPECT_THROW(parse_task(description("cluster", "\"none\""), "d").read_item(row, "f:1"), Error);
  EXPECT_EQ(description_error(description("cluster", "3")),
            "[quiz.json:9] field 'cluster': got 3, expected the name of a field");
}

TEST(TaskDescription, OneContinuationIsACloze) {
  const Task task = parse_task(
      R"({"name": "last", "context": "{t|before_last(' ')}", "continuation": " {t|after_last(' ')}",
          "metrics": ["acc"]})",
      "d");
  EXPECT_TRUE(task.cloze);
  const TaskItem item = task.read_item(parse_json(R"({"t": "a b c"})", "row"), "f:1");
  EXPECT_EQ(item.contexts, Texts{"a b"});
  EXPECT_EQ(item.continuations, Texts{" c"});
  EXPECT_EQ(item.gold, 0);
}

TEST(TaskDescription, WrongOnesAreNamedWithLineAndField) {
  EXPECT_EQ(description_error(description()), "no error");
  EXPECT_EQ(
      description_error(description("gold", "[1]")),
      "[quiz.json:7] field 'gold': got array, expected an index, {\"index\": FIELD}, {\"label\": "
      "TEXT, \"labels\": ..} or {\"text\": TEXT}");
  EXPECT_EQ(description_error(description("gold", "2")),
            "[quiz.json:7] field 'gold': got 2, expected 0 to 1");
  EXPECT_EQ(description_error(description("gold", "{\n\"index\":\n 3}")),
            "[quiz.json:8] field 'gold.index': got 3, expected the name of a field");
  EXPECT_EQ(description_error(description("gold", R"({"label": "{x}", "labels": ["A"]})")),
            "[quiz.json:7] field 'gold.labels': got array, expected 2 labels, one for each choice");
  EXPECT_EQ(description_error(description("gold", R"({"label": "{x}", "labels": ["A", "A"]})")),
            "[quiz.json:7] field 'gold.labels[1]': got \"A\", expected each label once");
  EXPECT_EQ(
      description_error(description("choices", "[\"a\",\n \"{b\"]")),
      "[quiz.json:7] field 'choices[1]': got '{b' without its '}', expected {field}, or '{{' for "
      "a brace");
  EXPECT_EQ(description_error(description("gold")), "[quiz.json:1] field 'gold' is missing");
  EXPECT_EQ(description_error(description("golden", "1")).substr(0, 52),
            "[quiz.json:9] field 'golden' is not known here, expe");
  EXPECT_EQ(description_error(description("data", "{\"hub\": \"a/b\", \"spilt\": \"test\"}")),
            "[quiz.json:4] field 'data.spilt' is not known here, expected some of hub, config, "
            "split, rows");
  EXPECT_EQ(description_error(
                description("data", "{\"hub\": \"a/b\", \"split\": \"test\", \"rows\": 0}")),
            "[quiz.json:4] field 'data.rows': got 0, expected a number of rows");
  EXPECT_EQ(
      description_error(description("name", "\"a/b\"")),
      "[quiz.json:2] field 'name': got \"a/b\", expected a name of letters, digits, '_' and '-'");
  EXPECT_EQ(
      description_error(description("metrics", "[\"f1\"]")),
      "[quiz.json:8] field 'metrics[0]': got \"f1\", expected \"acc\" or \"acc_norm\" (acc_bytes "
      "and acc_token come with it)");
  EXPECT_EQ(description_error(description("context", "[\"a\", \"b\"]")).substr(0, 39),
            "[quiz.json:5] field 'context': got arra");
  EXPECT_EQ(description_error(description("continuation", "\"a\"")).substr(0, 39),
            "[quiz.json:6] field 'choices': got arra");
  EXPECT_EQ(description_error(description("version", "\"1\"")),
            "[quiz.json:3] field 'version': got \"1\", expected a number");
  EXPECT_EQ(description_error("{\n\"name\": }").substr(0, 27), "[quiz.json:2] not valid JSO");
  EXPECT_EQ(description_error("[]"), "[quiz.json:1] got array, expected an object");
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{
           {"name", "\"\""},
           {"name", "\"all\""},
           {"name", "7"},
           {"context", "7"},
           {"context", "[\"a\"]"},
           {"choices", "[\"a\"]"},
           {"choices", "7"},
           {"choices", "{}"},
           {"choices", "{\"list\": \"\"}"},
           {"choices", "{\"list\": \"a\", \"filters\": \"strip\"}"},
           {"gold", "-1"},
           {"gold", "1.5"},
           {"gold", "{}"},
           {"gold", "{\"index\": \"a\", \"text\": \"b\"}"},
           {"metrics", "[]"},
           {"metrics", "[\"acc_norm\"]"},
           {"metrics", "\"acc\""},
           {"delimiter", "1"},
           {"header", "1"},
           {"few_shot", "{\"sampler\": \"best\"}"},
           {"few_shot", "{\"without_question\": 1}"},
           {"few_shot", "{\"same\": \"q\"}"},
           {"few_shot", "{\"rows\": 18446744073709551615}"},
           {"data", "{\"hub\": \"x\", \"split\": \"t\"}"},
           {"data", "{\"hub\": \"x/y\"}"},
           {"description", "[]"},
           {"context", "{\"text\": \"a\", \"filter\": []}"},
           {"context", "{\"text\": \"a\", \"filters\": [1]}"}}) {
    EXPECT_NE(description_error(description(key, value)), "no error") << key << " " << value;
  }
}

TEST(TaskDescription, FilesStandInTheListOfTasks) {
  const TestFolder temp;
  write_text(temp / "quiz.json", description());
  write_text(temp / "copy.json", description());
  write_text(temp / "piqa.json", description("name", "\"piqa\""));
  const std::string quiz = (temp / "quiz.json").string();
  const std::vector<const Task*> tasks = parse_task_list("piqa," + quiz + "," + quiz);
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[1]->name, "quiz");
  EXPECT_EQ(tasks[1]->file.string(), quiz);
  EXPECT_THROW(parse_task_list(quiz + "," + (temp / "copy.json").string()), UsageError);
  EXPECT_THROW(parse_task_list((temp / "piqa.json").string()), UsageError);
  EXPECT_THROW(parse_task_list((temp / "none.json").string()), Error);
}

}  // namespace
}  // namespace qx
