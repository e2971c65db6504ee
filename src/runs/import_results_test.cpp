// SPDX-License-Identifier: Apache-2.0
#include "runs/import_results.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr const char* kTime = "2026-01-31T12-00-00.5";

class ImportRun : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / "qx_import_run";
    fs::remove_all(root_);
    fs::create_directories(root_ / "in");
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(root_ / "in" / name) << text;
  }
  static std::string sample(int index, double acc) {
    Json json = parse_json(
        R"({"doc": {"goal": "g", "sol1": "a", "sol2": "b", "label": 1}, "target": "1",
        "arguments": [["Question: g\nAnswer:", " a"], ["Question: g\nAnswer:", " b"]],
        "resps": [[["-2", "False"]], [["-1", "False"]]], "metrics": ["acc", "acc_norm"]})",
        "sample");
    json["doc_id"] = index;
    json["acc"] = json["acc_norm"] = acc;
    return json.dump() + "\n";
  }
  static Json results() {
    return parse_json(
        R"({"results": {"piqa": {"alias": "piqa", "sample_len": 2, "acc,none": 1.0, "acc_norm,none": 1.0}},
        "n-shot": {"piqa": 5}, "versions": {"piqa": 1.0}, "chat_template": null, "max_length": 2048,
        "config": {"model": "hf", "model_args": "pretrained=x", "model_num_parameters": 9},
        "model_name": "x", "lm_eval_version": "0.4.13"})",
        "results");
  }
  ImportOutcome import(bool force = false) const {
    return import_run({{root_ / "in"}, root_ / "theirs", force});
  }
  Json run_json() const { return read_json_file(root_ / "theirs/run.json"); }
  fs::path root_;
};

TEST_F(ImportRun, SamplesWithResultsBesideThem) {
  write(std::string("samples_piqa_") + kTime + ".jsonl", sample(0, 1) + sample(3, 1));
  write(std::string("results_") + kTime + ".json", results().dump());
  const ImportOutcome outcome = import();
  ASSERT_EQ(outcome.tasks.size(), 1u);
  EXPECT_TRUE(outcome.tasks[0].per_item);
  const Json run = run_json();
  EXPECT_EQ(run["mode"], "plain");
  EXPECT_EQ(run["convention"], "lm-eval");
  EXPECT_EQ(run["few_shot"], 5);
  EXPECT_EQ(run["max_length"], 2048);
  EXPECT_TRUE(run["precision"].is_null());
  EXPECT_EQ(run["model"]["parameters"], 9);
  EXPECT_EQ(run["imported_from"]["version"], "0.4.13");
  EXPECT_EQ(run["imported_from"]["files"].size(), 2u);
  EXPECT_EQ(read_json_file(root_ / "theirs/results.json")["results"]["piqa"]["acc,none"], 1.0);
  // An imported run may be replaced, nothing else.
  EXPECT_THROW(import(), Error);
  EXPECT_NO_THROW(import(true));
  std::ofstream(root_ / "theirs/run.json") << "{}";
  EXPECT_THROW(import(true), Error);
}

TEST_F(ImportRun, SamplesAloneLeaveTheirConditionsUnknown) {
  write("samples_piqa.jsonl", sample(0, 1));
  const ImportOutcome outcome = import();
  EXPECT_TRUE(run_json()["mode"].is_null());
  EXPECT_TRUE(run_json()["few_shot"].is_null());
  EXPECT_EQ(outcome.notes.size(), 2u);
  EXPECT_EQ(read_json_file(root_ / "theirs/results.json")["results"]["piqa"]["acc,none"], 1.0);
}

TEST_F(ImportRun, ResultsOfAnotherRunAreRefused) {
  write("samples_piqa.jsonl", sample(0, 1) + sample(3, 1) + sample(4, 1));
  write("results.json", results().dump());
  EXPECT_THROW(import(), Error);  // 2 items there, 3 here
  write("samples_piqa.jsonl", sample(0, 1) + sample(3, 1));
  Json other = results();
  other["results"]["piqa"]["acc,none"] = 0.5;
  write("results.json", other.dump());
  EXPECT_THROW(import(), Error);
  EXPECT_FALSE(fs::exists(root_ / "theirs"));
}

// Such a task is not compared, which is told when it is imported.
TEST_F(ImportRun, TasksWithoutSamplesBesideOthers) {
  write("samples_piqa.jsonl", sample(0, 1) + sample(3, 1));
  Json both = results();
  both["results"]["boolq"] = {{"alias", "boolq"}, {"sample_len", 40}, {"acc,none", 0.5}};
  write("results.json", both.dump());
  const ImportOutcome outcome = import();
  ASSERT_FALSE(outcome.notes.empty());
  EXPECT_NE(outcome.notes.front().find("qx compare leaves them out"), std::string::npos)
      << outcome.notes.front();
  EXPECT_EQ(run_json()["tasks"]["boolq"]["per_item"], false);
}

TEST_F(ImportRun, MlxLmFilesHoldAccuraciesOnly) {
  write("eval_org_Model-4bit_0.4.9.2_05_boolq_arc_easy",
        R"({"boolq": {"alias": "boolq", "sample_len": 40, "acc,none": 0.5, "acc_stderr,none": 0.08},
        "arc_easy": {"alias": "arc_easy", "sample_len": 40, "acc,none": 0.5, "acc_norm,none": 0.25}})");
  const ImportOutcome outcome = import();
  ASSERT_EQ(outcome.tasks.size(), 2u);
  EXPECT_FALSE(outcome.tasks[0].per_item);
  const Json run = run_json();
  EXPECT_EQ(run["convention"], "mlx-lm");
  EXPECT_EQ(run["few_shot"], 5);
  EXPECT_EQ(run["model"]["name"], "org_Model-4bit");
  EXPECT_EQ(run["imported_from"]["lm_eval_version"], "0.4.9.2");
  EXPECT_FALSE(fs::exists(root_ / "theirs/answers-boolq.jsonl"));
}

TEST_F(ImportRun, WhatIsNoResultFile) {
  for (const char* bad :
       {"", "[]", "{}", "{\"a\": 1}", "{\"results\": {\"piqa\": 3}}",
        R"({"boolq": {"sample_len": -1, "acc,none": 0.5}})",
        R"({"boolq": {"sample_len": 4, "acc,none": 1.5}})", R"({"boolq": {"alias": "boolq"}})"}) {
    write("eval_m_0.4.9_boolq", bad);
    EXPECT_THROW(import(), Error) << bad;
  }
  fs::remove(root_ / "in/eval_m_0.4.9_boolq");
  EXPECT_THROW(import(), Error);  // nothing there
  write("samples_piqa.jsonl", sample(0, 1));
  write(std::string("samples_piqa_") + kTime + ".jsonl", sample(0, 1));
  EXPECT_THROW(import(), Error);  // two files of one task
}

TEST(ResultFile, NamesOfMlxLm) {
  const std::string text = R"({"boolq": {"sample_len": 4, "acc,none": 0.5}})";
  const ResultFile file = parse_result_file(text, "eval_a_1.5b_model_0.4.13_boolq", "f");
  EXPECT_EQ(file.model, "a_1.5b_model");
  EXPECT_EQ(file.version, "0.4.13");
  EXPECT_TRUE(file.shots.is_null());
  EXPECT_EQ(parse_result_file(text, "renamed", "f").model, "");
  EXPECT_EQ(parse_result_file(text, "eval_", "f").model, "");
}

}  // namespace
}  // namespace qx
