// Expected contexts and choices are those of lm-eval's definitions, worked by hand; the real package is
// compared in tests/parity/test_eval.py.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/task.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/hash.h"

namespace qx {
namespace {

TaskItem read(const char* task, const char* row) {
  return find_task(task)->read_item(parse_json(row, "row"), "f.jsonl:7");
}

std::string error_of(const char* task, const char* row) {
  try {
    read(task, row);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

using Texts = std::vector<std::string>;

TEST(Task, Arc) {
  const TaskItem item = read("arc_easy", R"({"question": "Why? ", "choices":
      {"text": ["a", "b", "c"], "label": ["1", "2", "3"]}, "answerKey": "3"})");
  EXPECT_EQ(item.contexts, Texts{"Question: Why? \nAnswer:"});
  EXPECT_EQ(item.continuations, (Texts{"a", "b", "c"}));
  EXPECT_EQ(item.gold, 2);
  EXPECT_EQ(
      read("arc_challenge", R"({"question": "q", "choices": {"text": ["a", "b", "c", "d", "e"],
      "label": ["A", "B", "C", "D", "E"]}, "answerKey": "E"})")
          .gold,
      4);
}

TEST(Task, BoolqAlwaysAddsAQuestionMark) {
  const TaskItem item = read("boolq", R"({"passage": "P.", "question": "is it?", "label": 1})");
  EXPECT_EQ(item.cluster, sha256_hex("P.").substr(0, 16));
  EXPECT_EQ(item.contexts, Texts{"P.\nQuestion: is it??\nAnswer:"});
  EXPECT_EQ(item.continuations, (Texts{"no", "yes"}));
  EXPECT_EQ(item.gold, 1);
}

TEST(Task, Hellaswag) {
  const TaskItem item = read("hellaswag", R"({"activity_label": "Running", "ctx_a": " A man runs.",
      "ctx_b": "he Ran to NYC", "endings": ["[substeps] Take  a walk. ", "x [title] Y", "a [b] ", "d    e"],
      "label": "2"})");
  EXPECT_EQ(item.contexts, Texts{"Running: A man runs. He ran to nyc"});
  EXPECT_EQ(item.continuations, (Texts{" Take a walk.", "x. Y", "a ", "d  e"}));
  EXPECT_EQ(item.gold, 2);
}

TEST(Task, HellaswagCleanUp) {
  const auto clean = [](const std::string& text) {
    Json row =
        parse_json(R"({"activity_label": "a", "ctx_a": "a", "ctx_b": "b", "endings": ["", "b"],
        "label": 0})",
                   "row");
    row["endings"][0] = text;
    return find_task("hellaswag")->read_item(row, "row").continuations[0];
  };
  EXPECT_EQ(clean("[title] A"), " A");           // no space before: a mark like others
  EXPECT_EQ(clean("a [b\nc] d"), "a [b\nc] d");  // a mark ends on its line
  EXPECT_EQ(clean("a [b [c] d] e"), "a d] e");
  EXPECT_EQ(clean("a [b"), "a [b");
  EXPECT_EQ(clean("[\n[x]y"), "[\ny");
  EXPECT_EQ(clean("\u00A0a   b\u00A0"), "a  b");
}

TEST(Task, Openbookqa) {
  const TaskItem item = read("openbookqa", R"({"question_stem": "The sun", "choices":
      {"text": ["is", "was"], "label": ["A", "B"]}, "answerKey": " \u00a0B"})");
  EXPECT_EQ(item.contexts, Texts{"The sun"});
  EXPECT_EQ(item.gold, 1);
}

TEST(Task, Piqa) {
  const TaskItem item =
      read("piqa", R"({"goal": "dresser\n", "sol1": "a", "sol2": "b", "label": 0})");
  EXPECT_EQ(item.contexts, Texts{"Question: dresser\n\nAnswer:"});
  EXPECT_EQ(item.continuations, (Texts{"a", "b"}));
}

TEST(Task, WinograndeFillsTheContext) {
  const TaskItem item =
      read("winogrande", R"({"sentence": "Ann met Bea so _ was_ glad. ", "option1": "Ann",
      "option2": "Bea", "answer": "2"})");
  EXPECT_EQ(item.contexts, (Texts{"Ann met Bea so Ann", "Ann met Bea so Bea"}));
  EXPECT_EQ(item.continuations, (Texts{"was_ glad.", "was_ glad."}));
  EXPECT_EQ(item.context_of(1), "Ann met Bea so Bea");
  EXPECT_EQ(item.gold, 1);
}

TEST(Task, BrokenRowsAreNamed) {
  EXPECT_EQ(error_of("piqa", R"({"goal": "g", "sol1": "a", "label": 0})"),
            "[f.jsonl:7] field 'sol2' is missing");
  EXPECT_EQ(error_of("piqa", R"({"goal": 3, "sol1": "a", "sol2": "b", "label": 0})"),
            "[f.jsonl:7] field 'goal': got number, expected a string");
  EXPECT_EQ(error_of("piqa", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": -1})"),
            "[f.jsonl:7] gold answer: got index -1, expected 0 to 1");
  EXPECT_EQ(error_of("boolq", R"({"passage": "p", "question": "q", "label": true})"),
            "[f.jsonl:7] field 'label': got true, expected an integer");
  EXPECT_EQ(
      error_of("boolq", R"({"passage": "p", "question": "q", "label": 18446744073709551615})"),
      "[f.jsonl:7] field 'label': got 18446744073709551615, expected an integer");
  EXPECT_EQ(error_of("arc_easy",
                     R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]},
      "answerKey": "C"})"),
            "[f.jsonl:7] field 'answerKey': got 'C', expected one of the labels A B");
  EXPECT_EQ(
      error_of("arc_easy", R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A"]},
      "answerKey": "A"})"),
      "[f.jsonl:7] got 1 labels, expected 2, one for each choice");
  EXPECT_EQ(
      error_of("arc_easy", R"({"question": "q", "choices": {"text": ["a", 1], "label": ["A", "B"]},
      "answerKey": "A"})"),
      "[f.jsonl:7] field 'choices.text': got number at index 1, expected a string");
  EXPECT_EQ(error_of("arc_easy", R"({"question": "q", "choices": "a", "answerKey": "A"})"),
            "[f.jsonl:7] field 'choices': got string, expected an object with 'text'");
  EXPECT_EQ(error_of("winogrande",
                     R"({"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"})"),
            "[f.jsonl:7] field 'sentence': got no '_', expected one");
  EXPECT_EQ(error_of("winogrande",
                     R"({"sentence": "a _", "option1": "a", "option2": "b", "answer": ""})"),
            "[f.jsonl:7] field 'answer': got '', expected one of the labels 1 2");
  EXPECT_EQ(error_of("hellaswag", R"({"activity_label": "a", "ctx_a": "a", "ctx_b": "b",
      "endings": ["a", "b"], "label": ""})"),
            "[f.jsonl:7] field 'label': got '', expected the number of a choice");
  EXPECT_EQ(error_of("hellaswag", R"({"activity_label": "a", "ctx_a": "a", "ctx_b": "b",
      "endings": ["a", "b"], "label": "2"})"),
            "[f.jsonl:7] gold answer: got index 2, expected 0 to 1");
  EXPECT_EQ(error_of("piqa", "[1]"), "[f.jsonl:7] got array, expected a JSON object");
}

TEST(Task, ListOfTasks) {
  EXPECT_EQ(parse_task_list("all").size(), 7u);
  EXPECT_EQ(parse_task_list("piqa,boolq,piqa").size(), 2u);
  EXPECT_EQ(parse_task_list("piqa,all").front()->name, "piqa");
  EXPECT_THROW(parse_task_list("piqa,"), UsageError);
  EXPECT_THROW(parse_task_list(""), UsageError);
  EXPECT_THROW(parse_task_list("PIQA"), UsageError);
}

// Values from Python: hashlib.sha256(json.dumps(json.loads(row), indent=2, ensure_ascii=False).encode()).
TEST(Task, DocumentHashIsThatOfPythonsJson) {
  const auto hash = [](const char* row) { return document_hash(parse_json(row, "row")); };
  EXPECT_EQ(
      hash(
          R"({"z": 1, "a": [1.0, -0.0, 1e16, 1e-7, 0.1], "e": {}, "l": [], "n": null, "t": true})"),
      "6b6513baf9eae4b51c96ce15411eb63e2392cf9e5bddc469acae2bcfb7b3fe57");
  EXPECT_EQ(
      hash(
          R"({"text": "tab\t quote\" back\\ \u00e9 \u2028 \ud83d\ude00 \u0001 \u007f /", "b": [{"c": "d"}]})"),
      "aed17dfb7e1ed07f0f9fabc8df772b9cd1cd6a5dfcbcea5413507a91df3c881c");
}

}  // namespace
}  // namespace qx
