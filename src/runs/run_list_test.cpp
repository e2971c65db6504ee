// Runs are found, measured and grouped.
// SPDX-License-Identifier: Apache-2.0
#include "runs/run_list.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "runs/answer_log.h"
#include "runs/run_folder.h"
#include "support/test_folder.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

Json run_json(const std::string& precision = "exact", const std::string& shard = "") {
  Json run = parse_json(
      R"({"name":"m","model":{"path":"/m","bits_per_weight":5.0025,"files":{}},"mode":"plain",
          "convention":"lm-eval","few_shot":0,
          "selection":{"kind":"rows","offset":0,"shard":null},
          "tasks":{"piqa":{"items":2,"indices":"0-1","data_hash":"h","of_items":4,"of_items_hash":"x"}},
          "start":"2026-01-01T00:00:00Z","end":"2026-01-01T00:01:00Z"})",
      "run");
  run["precision"] = precision;
  if (!shard.empty()) run["selection"]["shard"] = shard;
  return run;
}

std::string line(std::int64_t row, int right) {
  Answer answer;
  answer.task = "piqa";
  answer.index = row;
  answer.choices = {{-1, 1, 1, 1, true}, {-2, 1, 1, 1, true}};
  answer.acc = right;
  answer.acc_norm = 1;
  return answer_line(answer) + "\n";
}

void write_run(const fs::path& folder, const Json& run, const std::string& answers) {
  fs::create_directories(folder);
  write_text(folder / "run.json", run.dump());
  write_text(folder / "answers-piqa.jsonl", answers);
}

TEST(RunList, SaysHowFarEachRunIsAndWhichBelongTogether) {
  const TestFolder temp;
  const std::string both = line(0, 1) + line(1, 0);
  write_run(temp / "base", run_json(), both);
  write_run(temp / "deep/er/q4", run_json(), line(0, 1) + "{\"torn");
  write_run(temp / "other", run_json("fast"), both);
  write_run(temp / "s/2", run_json("exact", "2/3"), both);
  write_run(temp / "s/1", run_json("exact", "1/3"), both);
  write_run(temp / ".hidden", run_json(), both);
  fs::create_directory_symlink(temp / "deep", temp / "base/loop");
  fs::create_directory_symlink(temp / "", temp / "loop");
  write_run(temp / "z-broken", Json::array(), both);
  write_run(temp / "z-garbage", run_json(), "x\n" + both);

  const RunList list = list_runs(temp / "");
  ASSERT_EQ(list.runs.size(), 5u);
  EXPECT_EQ(list.runs[0].folder.filename(), "base");
  EXPECT_EQ(list.runs[0].state, RunState::kFinished);
  EXPECT_EQ(list.runs[0].tasks.at("piqa").right, 1);
  EXPECT_EQ(list.runs[0].tasks.at("piqa").right_norm, 2);
  EXPECT_EQ(list.runs[1].state, RunState::kInterrupted);
  EXPECT_EQ(list.runs[1].tasks.at("piqa").answered, 1);
  EXPECT_EQ(list.runs[1].group, list.runs[0].group);
  EXPECT_NE(list.runs[2].group, list.runs[0].group);
  ASSERT_EQ(list.shards.size(), 1u);
  EXPECT_EQ(list.shards[0].runs, (std::vector<std::size_t>{3, 4}));
  EXPECT_EQ(list.shards[0].missing, (std::vector<std::int64_t>{3}));
  ASSERT_EQ(list.broken.size(), 2u);
  EXPECT_NE(list.broken[1].error.find("answers-piqa.jsonl:1]"), std::string::npos);

  const std::string text = render_run_list(list);
  for (const char* part :
       {"deep/er/q4  interrupted, group A", "piqa                  1 of 2       acc 1.0000",
        "5.003 bits per weight", "qx merge-runs", "missing 3", "broken: ", "qx compare"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  const Json json = run_list_json(list);
  EXPECT_EQ(json["runs"][0]["tasks"]["piqa"]["acc"], 0.5);
  EXPECT_EQ(json["runs"][1]["state"], "interrupted");
  EXPECT_EQ(json["broken"].size(), 2u);
  EXPECT_EQ(json["shards"][0]["missing"], Json::array({3}));
}

TEST(RunList, ARunThatIsGoingOnIsRunning) {
  const TestFolder temp;
  const RunFolder folder(temp / "m", run_json(), OpenRun::kNewOrContinue);
  EXPECT_EQ(list_runs(temp / "m").runs.at(0).state, RunState::kRunning);
}

TEST(RunList, MissingAndEmptyFolders) {
  const TestFolder temp;
  EXPECT_THROW(list_runs(temp / "none"), Error);
  EXPECT_TRUE(list_runs(temp / "").runs.empty());
}

}  // namespace
}  // namespace qx
