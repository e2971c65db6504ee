// SPDX-License-Identifier: Apache-2.0
#include "runs/lm_eval_samples.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/hash.h"
#include "tasks/task.h"

namespace qx {
namespace {

// A sample as lm-eval 0.4.13 writes it. "b" is longer, so acc and acc_norm pick different choices.
Json arc_sample() {
  return parse_json(
      R"({"doc_id": 7, "doc": {"id": "x", "question": "Q?", "choices": {"text": ["a", "bbbb"],
      "label": ["A", "B"]}, "answerKey": "B"}, "target": "1", "arguments": {
      "gen_args_1": {"arg_0": "Question: Q?\nAnswer:", "arg_1": " bbbb"},
      "gen_args_0": {"arg_0": "Question: Q?\nAnswer:", "arg_1": " a"}},
      "resps": [[["-2.5", "False"]], [["-3.0", "True"]]], "filtered_resps": [["-2.5", "False"],
      ["-3.0", "True"]], "filter": "none", "metrics": ["acc", "acc_norm"],
      "prompt_hash": "p", "target_hash": "t", "acc": 0.0, "acc_norm": 1.0})",
      "sample");
}

ImportedSample parse(const Json& sample, std::string_view task = "arc_easy") {
  return parse_lm_eval_sample(sample, task, "f:1");
}

std::string error_of(const Json& sample, std::string_view task = "arc_easy") {
  try {
    parse(sample, task);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(LmEvalSamples, ASampleBecomesAnAnswer) {
  const ImportedSample s = parse(arc_sample());
  EXPECT_EQ(s.answer.index, 7);
  EXPECT_EQ(s.answer.gold, 1);
  ASSERT_EQ(s.answer.choices.size(), 2u);
  EXPECT_EQ(s.answer.choices[0].ll, -2.5);
  EXPECT_EQ(s.answer.choices[1].chars, 4);
  EXPECT_TRUE(s.answer.choices[1].greedy);
  EXPECT_EQ(s.answer.choices[0].tokens, 0);
  EXPECT_EQ(s.answer.acc, 0);
  EXPECT_EQ(s.answer.acc_norm, 1);
  EXPECT_EQ(s.answer.doc_hash, document_hash(arc_sample()["doc"]));
  EXPECT_EQ(s.asked[1].continuation, " bbbb");
}

TEST(LmEvalSamples, OlderFormsAreTheSame) {
  Json old = arc_sample();  // 0.4.0: numbers, lists, no filter, no hashes
  old["arguments"] =
      parse_json(R"([["Question: Q?\nAnswer:", " a"], ["Question: Q?\nAnswer:", " bbbb"]])", "a");
  old["resps"] = parse_json("[[[-2.5, false]], [[-3.0, true]]]", "r");
  for (const char* key : {"filtered_resps", "filter", "metrics", "prompt_hash", "target_hash"}) {
    old.erase(key);
  }
  old["target"] = 1;
  EXPECT_EQ(answer_line(parse(old).answer), answer_line(parse(arc_sample()).answer));
  const std::string array = "[" + old.dump() + "]";
  EXPECT_EQ(parse_lm_eval_samples(array, "arc_easy", "f").items.size(), 1u);
}

TEST(LmEvalSamples, TasksThatAreNotKnownHereUseTarget) {
  Json sample = arc_sample();
  sample["doc"] = {{"other", "schema"}};
  const ImportedSample s = parse(sample, "sciq");
  EXPECT_EQ(s.answer.gold, 1);
  EXPECT_EQ(s.answer.choices[1].chars, 4);  // the delimiter does not count
  sample["target"] = "bbbb";
  EXPECT_EQ(parse(sample, "sciq").answer.gold, 1);
  sample["target"] = "c";
  EXPECT_NE(error_of(sample, "sciq").find("'target'"), std::string::npos);
  sample["target"] = "2";
  EXPECT_NE(error_of(sample, "sciq").find("expected 0 to 1"), std::string::npos);
  // Chat mode has no delimiter.
  sample["target"] = "1";
  sample["arguments"]["gen_args_0"]["arg_1"] = "a";
  sample["arguments"]["gen_args_1"]["arg_1"] = "bbbb";
  EXPECT_EQ(parse(sample, "sciq").answer.choices[1].chars, 4);
}

TEST(LmEvalSamples, WinograndeHasContextsOfItsOwnAndATextAsTarget) {
  const Json sample = parse_json(
      R"({"doc_id": 0, "doc": {"sentence": "A _ b.", "option1": "x", "option2": "y", "answer": "2"},
      "target": "b.", "arguments": {"gen_args_0": {"arg_0": "A x", "arg_1": " b."},
      "gen_args_1": {"arg_0": "A y", "arg_1": " b."}}, "filtered_resps": [["-2", "False"], ["-1", "False"]],
      "filter": "none", "metrics": ["acc"], "acc": 1.0})",
      "sample");
  const ImportedSample s = parse(sample, "winogrande");
  EXPECT_EQ(s.answer.gold, 1);
  EXPECT_EQ(s.answer.acc, 1);
  EXPECT_FALSE(s.answer.acc_norm.has_value());
  EXPECT_EQ(s.asked[0].context, "A x");
}

TEST(LmEvalSamples, HellaswagsHashIsThatOfTheRawRow) {
  const Json row = parse_json(
      R"({"ind": 1, "activity_label": "L", "ctx_a": "A.", "ctx_b": "b", "ctx": "", "endings": ["c", "d"],
      "label": "0"})",
      "row");
  Json doc = row;
  doc["query"] = "L: A. B";
  doc["choices"] = {"c", "d"};
  doc["gold"] = 0;
  Json sample = arc_sample();
  sample["doc"] = doc;
  sample["doc_hash"] = document_hash(doc);
  sample["acc"] = 1.0;
  sample["acc_norm"] = 1.0;
  const ImportedSample s = parse(sample, "hellaswag");
  EXPECT_EQ(s.answer.doc_hash, document_hash(row));
  EXPECT_FALSE(s.changed);
  EXPECT_EQ(s.answer.gold, 0);
  sample["doc"]["ind"] = 2;
  EXPECT_TRUE(parse(sample, "hellaswag").changed);
}

TEST(LmEvalSamples, MutualInformationDoublesTheRequests) {
  Json sample = arc_sample();
  sample["metrics"].push_back("acc_mutual_info");
  sample["arguments"]["gen_args_2"] = {{"arg_0", ""}, {"arg_1", "a"}};
  sample["arguments"]["gen_args_3"] = {{"arg_0", ""}, {"arg_1", "bbbb"}};
  sample["filtered_resps"].push_back({"-1", "False"});
  sample["filtered_resps"].push_back({"-1", "False"});
  EXPECT_EQ(answer_line(parse(sample).answer), answer_line(parse(arc_sample()).answer));
}

TEST(LmEvalSamples, MinusInfinityIsKept) {
  Json sample = arc_sample();
  sample["filtered_resps"][0][0] = "-inf";
  sample["acc"] = 1.0;
  EXPECT_TRUE(std::isinf(parse(sample).answer.choices[0].ll));
  for (const char* bad : {"nan", "inf", "", "1.0x", "-2.5 ", "0x1p3"}) {
    sample["filtered_resps"][0][0] = bad;
    EXPECT_NE(error_of(sample), "") << bad;
  }
}

TEST(LmEvalSamples, WhatDoesNotFitTogetherIsAnError) {
  const auto error_with = [](const char* pointer, const Json& value) {
    Json sample = arc_sample();
    sample[Json::json_pointer(pointer)] = value;
    return error_of(sample);
  };
  EXPECT_NE(error_with("/acc", 1.0).find("'acc'"), std::string::npos);
  EXPECT_NE(error_with("/acc_norm", 0.0).find("'acc_norm'"), std::string::npos);
  EXPECT_NE(error_with("/doc_id", -1), "");
  EXPECT_NE(error_with("/filtered_resps", Json::array({Json::array({"-1", "False"})})), "");
  EXPECT_NE(error_with("/filtered_resps", Json::array({"a text", "b"})).find("generated"),
            std::string::npos);
  EXPECT_NE(error_with("/filtered_resps/0/1", "maybe"), "");
  EXPECT_NE(error_with("/arguments", 3), "");
  EXPECT_NE(error_with("/arguments/gen_args_0", Json::array({"x"})), "");
  Json third = arc_sample();  // the doc has two choices
  third["arguments"]["gen_args_2"] = {{"arg_0", "c"}, {"arg_1", "d"}};
  third["filtered_resps"].push_back({"-1", "False"});
  EXPECT_NE(error_of(third).find("number of choices"), std::string::npos);
  Json nothing = arc_sample();
  nothing.erase("doc");
  EXPECT_NE(error_of(nothing).find("doc_hash"), std::string::npos);
}

TEST(LmEvalSamples, AFileKeepsOneFilterAndRefusesDuplicates) {
  Json other = arc_sample();
  other["filter"] = "strict";
  Json first = arc_sample();
  first["doc_id"] = 2;
  const std::string lines =
      arc_sample().dump() + "\n" + other.dump() + "\n" + first.dump() + "\n\n";
  const ImportedSamples all = parse_lm_eval_samples(lines, "arc_easy", "f");
  ASSERT_EQ(all.items.size(), 2u);
  EXPECT_EQ(all.items[0].answer.index, 2);
  EXPECT_EQ(all.of_other_filters, 1);
  EXPECT_THROW(parse_lm_eval_samples(lines + first.dump(), "arc_easy", "f"), Error);
  EXPECT_THROW(parse_lm_eval_samples("\n", "arc_easy", "f"), Error);
  EXPECT_THROW(parse_lm_eval_samples("[]", "arc_easy", "f"), Error);
}

TEST(LmEvalSamples, NamesOfFiles) {
  EXPECT_EQ(task_of_sample_file("samples_arc_easy_2026-01-31T12-00-00.123456.jsonl"), "arc_easy");
  EXPECT_EQ(task_of_sample_file("samples_arc_easy.jsonl"), "arc_easy");
  EXPECT_EQ(task_of_sample_file("samples_my_2020.jsonl"), "my_2020");
  EXPECT_EQ(task_of_sample_file("results_2026-01-31T12-00-00.json"), "");
  EXPECT_EQ(task_of_sample_file("samples_.jsonl"), "");
  EXPECT_EQ(task_of_sample_file("samples_2026-01-31T12-00-00.jsonl"), "");
  EXPECT_EQ(time_of_lm_eval_file("results_2026-01-31T12-00-00.5.json"), "2026-01-31T12-00-00.5");
  EXPECT_EQ(time_of_lm_eval_file("results.json"), "");
}

TEST(LmEvalSamples, WhatIsWrittenReadsBack) {
  const ImportedSample s = parse(arc_sample());
  const std::string line = lm_eval_sample_line(s.answer, arc_sample()["doc"], "1", s.asked);
  const Json json = parse_json(line, "line");
  EXPECT_EQ(json["resps"], arc_sample()["resps"]);
  EXPECT_EQ(json["filtered_resps"], arc_sample()["filtered_resps"]);
  EXPECT_EQ(json["arguments"]["gen_args_1"], arc_sample()["arguments"]["gen_args_1"]);
  EXPECT_EQ(json["target_hash"], sha256_hex("1"));
  EXPECT_EQ(json["prompt_hash"], sha256_hex("Question: Q?\nAnswer:"));
  EXPECT_EQ(answer_line(parse(json).answer), answer_line(s.answer));
}

}  // namespace
}  // namespace qx
