// A folder continues its own run and refuses every other.
// SPDX-License-Identifier: Apache-2.0
#include "runs/run_folder.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/test_folder.h"

namespace qx {
namespace {

Json example_run() {
  return parse_json(
      R"({"name": "m", "model": {"path": "/a", "plan_hash": "p", "files": {"w": "1", "t": "2"}},
      "mode": "plain", "convention": "lm-eval", "template_hash": null, "template_variables": null,
      "max_length": 100, "few_shot": 0,
      "selection": {"kind": "rows", "offset": 0, "limit": 40, "sample": null, "seed": null,
      "indices_file": null, "shard": null},
      "tasks": {"piqa": {"data": "x", "data_hash": "h", "items": 40, "indices": "0-39"}},
      "precision": "reference", "kernels": "avx2", "threads": 2, "version": "1", "commit": "c", "dirty": false,
      "compiler": "g"})",
      "run");
}

std::string answers(const std::string& task, std::int64_t count) {
  std::string text;
  for (std::int64_t row = 0; row < count; ++row) {
    Answer answer;
    answer.task = task;
    answer.index = row;
    answer.choices = {{-1.0, 1, 2, 2, true}, {-2.0, 1, 2, 2, false}};
    answer.acc = 1;
    text += answer_line(answer) + "\n";
  }
  return text;
}

TEST(RunFolder, WhatMayDiffer) {
  Json other = example_run();
  EXPECT_EQ(first_run_difference(example_run(), other), "");
  other["model"]["path"] = "/b";
  other["kernels"] = "scalar";
  other["threads"] = 9;
  other["commit"] = "d";
  other["tasks"]["piqa"]["items"] = 41;
  other["tasks"]["piqa"]["indices"] = "0-40";
  other["selection"]["limit"] = 41;
  other["selection"]["indices_file"] = "elsewhere";
  other["tasks"]["piqa"]["data"] = "y";
  other["tasks"]["boolq"] = Json{{"items", 2}};
  EXPECT_EQ(first_run_difference(example_run(), other), "");
}

TEST(RunFolder, WhatMustBeEqual) {
  const auto difference_at = [](const char* pointer, const Json& value) {
    Json other = example_run();
    other[Json::json_pointer(pointer)] = value;
    return first_run_difference(example_run(), other);
  };
  EXPECT_EQ(difference_at("/precision", "fast"),
            "precision: this command has \"fast\", the folder has \"reference\"");
  // A folder of a version that knew 32 bits only.
  EXPECT_EQ(difference_at("/kv_bits", 32), "");
  EXPECT_EQ(difference_at("/kv_bits", 8), "kv_bits: this command has 8, the folder has 32");
  EXPECT_EQ(difference_at("/template_hash", "t"),
            "template_hash: this command has \"t\", the folder has none");
  const auto items_at = [](const char* rows, int count) {
    Json other = example_run();
    other["tasks"]["piqa"]["indices"] = rows;
    other["tasks"]["piqa"]["items"] = count;
    return first_run_difference(example_run(), other);
  };
  EXPECT_EQ(items_at("0-38", 39),
            "items of piqa: this command has 39, the folder has 40 and not all of them are among "
            "these (items may be added, not taken away)");
  EXPECT_NE(items_at("1-90", 90), "");
  EXPECT_EQ(difference_at("/selection/seed", 2),
            "selection of items, seed: this command has 2, the folder has none");
  EXPECT_EQ(difference_at("/model/files/w", "9"),
            "SHA-256 of the model's w: this command has \"9\", the folder has \"1\"");
  EXPECT_EQ(difference_at("/model/files/new", "9"),
            "SHA-256 of the model's new: this command has \"9\", the folder has none");
  for (const char* pointer : {"/model/plan_hash", "/mode", "/convention", "/template_variables",
                              "/max_length", "/few_shot", "/selection/offset", "/selection/shard",
                              "/selection/kind", "/version", "/tasks/piqa/data_hash"}) {
    EXPECT_NE(difference_at(pointer, "other"), "") << pointer;
  }
  // A folder of a version that knew an offset and a limit only.
  Json old = example_run();
  old.erase("selection");
  old["offset"] = 0;
  old["tasks"]["piqa"].erase("indices");
  EXPECT_EQ(first_run_difference(old, example_run()), "");
  old["offset"] = 1;
  EXPECT_NE(first_run_difference(old, example_run()), "");
  Json fewer = example_run();
  fewer["model"]["files"].erase("w");
  EXPECT_NE(first_run_difference(example_run(), fewer), "");
  EXPECT_NE(first_run_difference(Json::array(), example_run()), "");
}

TEST(RunFolder, ContinuesAndKeepsWhatOtherCommandsAsked) {
  const TestFolder temp;
  const std::string kept = answers("piqa", 40);
  {
    RunFolder folder(temp / "m", example_run(), OpenRun::kNewOrContinue);
    write_text(folder.answers_file("piqa"), kept);
    folder.finish(parse_json(R"({"results": {"piqa": {"acc,none": 1}}})", "r"));
  }
  Json other = example_run();
  other["tasks"] = parse_json(R"({"boolq": {"data_hash": "b", "items": 3}})", "t");
  other["threads"] = 4;
  {
    RunFolder folder(temp / "m", other, OpenRun::kContinueOnly);
    folder.finish(parse_json(R"({"results": {"boolq": {"acc,none": 0}}})", "r"));
  }
  EXPECT_EQ(read_text(temp / "m/answers-piqa.jsonl"), kept);
  const Json written = read_json_file(temp / "m/run.json");
  EXPECT_TRUE(written["tasks"].contains("piqa"));
  EXPECT_TRUE(written["tasks"].contains("boolq"));
  EXPECT_TRUE(written["end"].is_string());
  EXPECT_EQ(written["earlier_sessions"].size(), 1u);
  EXPECT_EQ(written["earlier_sessions"][0]["threads"], 2);
  EXPECT_EQ(read_json_file(temp / "m/results.json")["results"].size(), 2u);
}

// A larger --limit that was stopped, then a command about another task.
TEST(RunFolder, ATaskThatLacksAnswersKeepsTheRunOpen) {
  const TestFolder temp;
  const Json piqa =
      parse_json(R"({"results": {"piqa": {"acc,none": 1}}, "n-shot": {"piqa": 0}})", "r");
  const Json boolq =
      parse_json(R"({"results": {"boolq": {"acc,none": 0}}, "n-shot": {"boolq": 0}})", "r");
  const auto run_of = [](const char* tasks) {
    Json wanted = example_run();
    wanted["tasks"] = parse_json(tasks, "t");
    return wanted;
  };
  const auto written = [&](const char* file) {
    return read_json_file(temp / (std::string("m/") + file));
  };
  {
    RunFolder folder(temp / "m", run_of(R"({"piqa": {"items": 2}})"), OpenRun::kNewOrContinue);
    write_text(folder.answers_file("piqa"), answers("piqa", 2));
    folder.finish(piqa);
  }
  EXPECT_TRUE(written("run.json")["end"].is_string());
  {
    RunFolder folder(temp / "m", run_of(R"({"piqa": {"items": 60}})"), OpenRun::kNewOrContinue);
    write_text(folder.answers_file("piqa"), answers("piqa", 23));
  }
  {
    RunFolder folder(temp / "m", run_of(R"({"boolq": {"items": 1}})"), OpenRun::kNewOrContinue);
    folder.finish(boolq);
  }
  EXPECT_TRUE(written("run.json")["end"].is_null());
  EXPECT_EQ(written("results.json"), boolq);
  {
    RunFolder folder(temp / "m", run_of(R"({"piqa": {"items": 60}})"), OpenRun::kNewOrContinue);
    write_text(folder.answers_file("boolq"), answers("boolq", 1));
    folder.finish(piqa);
  }
  EXPECT_TRUE(written("run.json")["end"].is_string());
  EXPECT_EQ(written("results.json")["results"].size(), 2u);
}

TEST(RunFolder, RefusesAnotherRunUnlessStartedOver) {
  const TestFolder temp;
  { const RunFolder folder(temp / "m", example_run(), OpenRun::kNewOrContinue); }
  write_text(temp / "m/answers-piqa.jsonl", "old");
  write_text(temp / "m/notes.txt", "mine");
  Json other = example_run();
  other["mode"] = "chat";
  try {
    const RunFolder folder(temp / "m", other, OpenRun::kNewOrContinue);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(
        std::string(e.what()).find("mode: this command has \"chat\", the folder has \"plain\""),
        std::string::npos);
  }
  EXPECT_EQ(read_text(temp / "m/answers-piqa.jsonl"), "old");
  std::filesystem::remove(temp / "m/notes.txt");
  const RunFolder folder(temp / "m", other, OpenRun::kStartOver);
  EXPECT_FALSE(std::filesystem::exists(temp / "m/answers-piqa.jsonl"));
}

TEST(RunFolder, LeavesOtherFoldersAlone) {
  const TestFolder temp;
  std::filesystem::create_directories(temp / "m");
  write_text(temp / "m/thesis.tex", "mine");
  for (const OpenRun how : {OpenRun::kNewOrContinue, OpenRun::kStartOver, OpenRun::kContinueOnly}) {
    EXPECT_THROW(RunFolder(temp / "m", example_run(), how), Error);
    EXPECT_EQ(read_text(temp / "m/thesis.tex"), "mine");
  }
  EXPECT_THROW(RunFolder(temp / "new", example_run(), OpenRun::kContinueOnly), Error);
  EXPECT_FALSE(std::filesystem::exists(temp / "new"));
  write_text(temp / "file", "x");
  EXPECT_THROW(RunFolder(temp / "file", example_run(), OpenRun::kNewOrContinue), Error);
}

TEST(RunFolder, OneProcessAtATime) {
  const TestFolder temp;
  const RunFolder first(temp / "m", example_run(), OpenRun::kNewOrContinue);
  EXPECT_THROW(RunFolder(temp / "m", example_run(), OpenRun::kNewOrContinue), Error);
}

TEST(RunFolder, DamagedRunJsonIsAnError) {
  const TestFolder temp;
  std::filesystem::create_directories(temp / "m");
  write_text(temp / "m/run.json", "{\"model\":");
  EXPECT_THROW(RunFolder(temp / "m", example_run(), OpenRun::kNewOrContinue), Error);
  const RunFolder folder(temp / "m", example_run(), OpenRun::kStartOver);
}

}  // namespace
}  // namespace qx
