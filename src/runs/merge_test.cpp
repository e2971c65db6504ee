// Shards become the run, or an error says why not. That the bytes are those of the unsharded run is shown in
// tests/e2e/runs_test.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "runs/merge.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "runs/answer_log.h"
#include "runs/run_folder.h"
#include "support/test_folder.h"
#include "tasks/index_set.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr std::int64_t kItems = 7, kShards = 3;

class MergeRuns : public testing::Test {
 protected:
  void SetUp() override {
    for (std::int64_t i = 1; i <= kShards; ++i) write_shard(i, rows_of(i));
  }

  static std::vector<std::int64_t> rows_of(std::int64_t shard) {
    std::vector<std::int64_t> rows;
    for (std::int64_t row = shard - 1; row < kItems; row += kShards) rows.push_back(row);
    return rows;
  }
  static std::string line(std::int64_t row) {
    Answer answer;
    answer.task = "piqa";
    answer.index = row;
    answer.choices = {{-1.5 - static_cast<double>(row), 1, 2, 2, true}, {-2.0, 1, 2, 2, false}};
    answer.acc = answer.choices[0].ll > -2.0 ? 1 : 0;
    return answer_line(answer) + "\n";
  }
  static Json run_json(std::int64_t shard) {
    const std::vector<std::int64_t> rows = rows_of(shard);
    std::vector<std::int64_t> all;
    for (std::int64_t row = 0; row < kItems; ++row) all.push_back(row);
    Json run = parse_json(
        R"({"name":"m","model":{"plan_hash":"p","files":{}},"mode":"plain","precision":"exact","threads":2,
            "selection":{"kind":"rows","offset":0,"limit":7,"sample":null,"seed":null,
            "indices_file":null,"shard":""},"tasks":{"piqa":{"data_hash":"h"}},
            "start":"2026-01-01T00:00:03Z","end":"2026-01-01T00:00:09Z","earlier_sessions":[]})",
        "run");
    run["selection"]["shard"] = fmt::format("{}/{}", shard, kShards);
    Json& task = run["tasks"]["piqa"];
    task["items"] = rows.size();
    task["indices"] = IndexSet(rows).text();
    task["items_hash"] = IndexSet(rows).hash();
    task["of_items"] = kItems;
    task["of_items_hash"] = IndexSet(all).hash();
    return run;
  }
  fs::path folder(std::int64_t shard) const { return temp_ / ("s" + std::to_string(shard)); }
  fs::path answers(std::int64_t shard) const { return folder(shard) / "answers-piqa.jsonl"; }
  std::vector<fs::path> folders() const { return {folder(3), folder(1), folder(2)}; }

  void write_shard(std::int64_t shard, const std::vector<std::int64_t>& rows) const {
    fs::create_directories(folder(shard));
    std::string text;
    for (const std::int64_t row : rows) text += line(row);
    write_text(answers(shard), text);
    write_text(folder(shard) / "run.json", run_json(shard).dump());
    write_text(
        folder(shard) / "results.json",
        R"({"results":{"piqa":{"name":"piqa","sample_len":2,"acc,none":0.5,"acc_stderr,none":"N/A"}},
                   "n-samples":{"piqa":{"original":9,"effective":2}},"truncated_requests":{"piqa":2}})");
  }
  std::string error(const std::vector<fs::path>& from, bool partial = false) const {
    try {
      merge_runs(from, temp_ / "out", partial, false);
    } catch (const Error& e) {
      EXPECT_FALSE(fs::exists(temp_ / "out"));
      return e.what();
    }
    return "";
  }
  void expect_error(const std::string& part, const std::string& text) const {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }

  TestFolder temp_;
};

TEST_F(MergeRuns, AnswersWithAndWithoutPassagesDoNotMix) {
  const std::string text = read_text(answers(1));
  Answer first = read_answers(answers(1)).front();
  first.cluster = "0123456789abcdef";
  write_text(answers(1), answer_line(first) + text.substr(text.find('\n')));
  expect_error("older shards' commands once more", error(folders()));
}

TEST_F(MergeRuns, WhatWasMeasuredBesideAShardGoesAlong) {
  write_text(folder(2) / "bench.json", "{}");
  merge_runs(folders(), temp_ / "out", false, false);
  EXPECT_EQ(read_text(temp_ / "out/bench.json"), "{}");
  EXPECT_FALSE(fs::exists(temp_ / "out/divergence.json"));
}

TEST_F(MergeRuns, JoinsInItemOrderAndCountsAgain) {
  const Merge merge = merge_runs(folders(), temp_ / "out/", false, false);
  EXPECT_TRUE(merge.missing.empty());
  std::string all;
  for (std::int64_t row = 0; row < kItems; ++row) all += line(row);
  EXPECT_EQ(read_text(temp_ / "out/answers-piqa.jsonl"), all);
  const Json run = read_json_file(temp_ / "out/run.json");
  EXPECT_EQ(run["name"], "out");
  EXPECT_TRUE(run["selection"]["shard"].is_null());
  EXPECT_EQ(run["tasks"]["piqa"]["indices"], "0-6");
  EXPECT_FALSE(run["tasks"]["piqa"].contains("of_items"));
  EXPECT_TRUE(run["earlier_sessions"].empty());
  const Json results = read_json_file(temp_ / "out/results.json");
  EXPECT_EQ(results["results"]["piqa"]["sample_len"], 7);
  EXPECT_EQ(results["results"]["piqa"]["acc,none"], 1.0 / 7);  // of row 0 alone
  EXPECT_NEAR(results["results"]["piqa"]["acc_stderr,none"].get<double>(),
              std::sqrt(1.0 / 7 * 6 / 7 / 6), 1e-15);
  EXPECT_EQ(results["n-samples"]["piqa"]["effective"], 7);
  EXPECT_EQ(results["truncated_requests"]["piqa"], 6);
  EXPECT_THROW(merge_runs(folders(), temp_ / "out", false, false), Error);  // exists
  merge_runs(folders(), temp_ / "out", false, true);
}

TEST_F(MergeRuns, ForceReplacesARunAndNothingElse) {
  const auto refusal = [&](const fs::path& output) {
    try {
      merge_runs(folders(), output, false, true);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  for (const fs::path& made : {temp_ / "notes", temp_ / "empty", folder(3) / "in"}) {
    fs::create_directories(made);
  }
  write_text(temp_ / "notes/todo.txt", "mine");
  expect_error("holds no run.json", refusal(temp_ / "notes"));
  EXPECT_EQ(read_text(temp_ / "notes/todo.txt"), "mine");
  // Not even with a run.json: the shards lie in it.
  write_text(temp_ / "run.json", "{}");
  expect_error("expected a folder apart from the shards", refusal(temp_ / "."));
  expect_error("expected a folder apart from the shards", refusal(folder(2)));
  fs::create_directory_symlink(folder(1), temp_ / "link");
  expect_error("expected a folder apart from the shards", refusal(temp_ / "link"));
  write_text(folder(3) / "in/run.json", "{}");
  expect_error("expected a folder apart from the shards", refusal(folder(3) / "in"));
  for (std::int64_t i = 1; i <= kShards; ++i) EXPECT_TRUE(fs::exists(answers(i)));
  EXPECT_EQ(refusal(temp_ / "empty"), "");
  EXPECT_EQ(refusal(temp_ / "empty"), "");  // now a run
}

TEST_F(MergeRuns, OtherMachinesAreRecordedAndTimesSpanAll) {
  Json run = run_json(2);
  run["threads"] = 64;
  run["start"] = "2026-01-01T00:00:01Z";
  run["end"] = "2026-01-01T00:01:00Z";
  write_text(folder(2) / "run.json", run.dump());
  merge_runs(folders(), temp_ / "out", false, false);
  const Json merged = read_json_file(temp_ / "out/run.json");
  EXPECT_EQ(merged["threads"], 2);
  ASSERT_EQ(merged["earlier_sessions"].size(), 1u);
  EXPECT_EQ(merged["earlier_sessions"][0]["threads"], 64);
  EXPECT_EQ(merged["start"], "2026-01-01T00:00:01Z");
  EXPECT_EQ(merged["end"], "2026-01-01T00:01:00Z");
}

TEST_F(MergeRuns, WhatIsMissingIsNamed) {
  expect_error("shard 2/3", error({folder(1), folder(3)}));
  write_shard(2, {1});
  expect_error("piqa: 1 of 2 items of shard 2/3", error(folders()));
  expect_error(": 4", error(folders()));
  const Merge merge = merge_runs(folders(), temp_ / "out", true, false);
  ASSERT_EQ(merge.missing.size(), 1u);
  EXPECT_EQ(merge.tasks[0].answered, 6);
  EXPECT_TRUE(read_json_file(temp_ / "out/run.json")["end"].is_null());
  EXPECT_EQ(read_json_file(temp_ / "out/run.json")["tasks"]["piqa"]["indices"], "0-6");
  EXPECT_FALSE(fs::exists(temp_ / "out/results.json"));
}

TEST_F(MergeRuns, AShardThatDidNotEndIsMissing) {
  fs::remove(folder(3) / "results.json");
  expect_error("the end of shard 3/3", error(folders()));
}

TEST_F(MergeRuns, ShardsOfAnotherRunAreRefused) {
  const auto changed = [&](const char* pointer, const Json& value) {
    Json run = run_json(2);
    run[Json::json_pointer(pointer)] = value;
    write_text(folder(2) / "run.json", run.dump());
    return error(folders());
  };
  expect_error("precision: ", changed("/precision", "fast"));
  expect_error("\"fast\"", changed("/precision", "fast"));
  expect_error("plan_hash", changed("/model/plan_hash", "q"));
  expect_error("SHA-256 of the data of piqa", changed("/tasks/piqa/data_hash", "other"));
  expect_error("seed", changed("/selection/seed", 4));
  expect_error("shard 2/4", changed("/selection/shard", "2/4"));
  expect_error("is no shard", changed("/selection/shard", nullptr));
  expect_error("items of piqa", changed("/tasks/piqa/of_items_hash", "other"));
  expect_error("items of piqa", changed("/tasks/piqa/of_items", 8));
  expect_error("boolq", changed("/tasks/boolq", Json{{"items", 3}}));
  expect_error("no such folder", error({folder(1), temp_ / "none"}));
}

TEST_F(MergeRuns, AnswersThatDoNotFitAreRefused) {
  // The same shard twice is fine while it says the same.
  fs::copy(folder(2), temp_ / "again");
  std::vector<fs::path> twice = folders();
  twice.push_back(temp_ / "again");
  EXPECT_EQ(error(twice), "");
  fs::remove_all(temp_ / "out");
  std::string other = read_text(answers(2));
  other.replace(other.find("-2.5"), 4, "-2.6");
  write_text(temp_ / "again/answers-piqa.jsonl", other);
  expect_error("item 1 has another answer", error(twice));
  write_text(answers(2), line(1) + line(4) + line(5));
  expect_error("item 5 of piqa is not among the items of shard 2/3", error(folders()));
  write_text(answers(2), "x\n" + line(4));
  expect_error("answers-piqa.jsonl:1]", error(folders()));
}

TEST_F(MergeRuns, AFolderInUseIsRefused) {
  const RunFolder in_use(folder(2), run_json(2), OpenRun::kNewOrContinue);
  expect_error("is being written", error(folders()));
}

}  // namespace
}  // namespace qx
