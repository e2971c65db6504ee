// SPDX-License-Identifier: Apache-2.0
#include "compare/run_results.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// Two items of two choices; the second choice has the higher ll, the first the higher ll per character.
constexpr const char* kAnswers =
    R"({"task":"piqa","index":0,"doc_hash":"a","gold":1,"choices":[{"ll":-9.0,"tokens":2,"chars":90,"bytes":90,"greedy":false},{"ll":-3.0,"tokens":2,"chars":10,"bytes":10,"greedy":false}],"acc":1,"acc_norm":0}
{"task":"piqa","index":1,"doc_hash":"b","gold":0,"choices":[{"ll":-9.0,"tokens":2,"chars":90,"bytes":90,"greedy":false},{"ll":-3.0,"tokens":2,"chars":10,"bytes":10,"greedy":false}],"acc":0,"acc_norm":1}
)";

fs::path write_run(const std::string& name, const std::string& run_json,
                   const std::string& answers) {
  const fs::path folder = fs::path(testing::TempDir()) / "qx_run_results" / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  std::ofstream(folder / "run.json") << run_json;
  std::ofstream(folder / "answers-piqa.jsonl") << answers;
  return folder;
}

constexpr const char* kRun =
    R"({"mode":"plain","convention":"lm-eval","few_shot":0,"precision":"reference","end":"x","model":{"tensor_bytes":100,"bits_per_weight":5.0}})";

TEST(LoadRuns, PicksByTheMetricAndReadsTheSize) {
  const fs::path a = write_run("a", kRun, kAnswers), b = write_run("b", kRun, kAnswers);
  const LoadedRuns norm = load_runs({a, b}, Metric::kDefault);
  ASSERT_EQ(norm.runs.size(), 2u);
  EXPECT_EQ(norm.runs[0].name, "a");
  EXPECT_EQ(norm.runs[0].tensor_bytes, 100);
  EXPECT_EQ(norm.runs[0].tasks.at("piqa").metric, "acc_norm");
  EXPECT_EQ(norm.runs[0].tasks.at("piqa").items[0].chosen, 0);
  EXPECT_FALSE(norm.runs[0].tasks.at("piqa").items[0].right);
  const LoadedRuns acc = load_runs({a, b}, Metric::kAcc);
  EXPECT_EQ(acc.runs[0].tasks.at("piqa").items[0].chosen, 1);
  EXPECT_TRUE(acc.runs[0].tasks.at("piqa").items[0].right);
  EXPECT_TRUE(norm.notes.empty());
}

TEST(LoadRuns, OtherRulesAreRefusedAndOtherPrecisionIsSaid) {
  std::string chat = kRun, precise = kRun;
  chat.replace(chat.find("plain"), 5, "chat");
  precise.replace(precise.find("reference"), 9, "exact");
  const fs::path a = write_run("a", kRun, kAnswers);
  EXPECT_THROW(load_runs({a, write_run("c", chat, kAnswers)}, Metric::kDefault), Error);
  EXPECT_EQ(load_runs({a, write_run("p", precise, kAnswers)}, Metric::kDefault).notes.size(), 1u);
  std::string same = kRun, small = kRun;
  same.insert(1, R"("kv_bits":32,)");
  small.insert(1, R"("kv_bits":8,)");
  EXPECT_TRUE(load_runs({a, write_run("s", same, kAnswers)}, Metric::kDefault).notes.empty());
  EXPECT_EQ(load_runs({a, write_run("k", small, kAnswers)}, Metric::kDefault).notes.size(), 1u);
}

TEST(LoadRuns, TasksAskedInTwoWaysAreRefused) {
  const auto with = [](const std::string& name, const std::string& facts) {
    return write_run(name, std::string(kRun).insert(1, R"("tasks":{"piqa":{)" + facts + "}},"),
                     kAnswers);
  };
  const auto own = [&](const std::string& name, const std::string& hash) {
    return with(name, R"("description":"./p.json","description_hash":")" + hash + "\"");
  };
  const auto shipped = [&](const std::string& name, const std::string& hash) {
    return with(name, R"("description":"shipped","description_hash":")" + hash + "\"");
  };
  EXPECT_NO_THROW(load_runs({own("a", "1"), own("b", "1")}, Metric::kDefault));
  EXPECT_THROW(load_runs({own("a", "1"), own("b", "2")}, Metric::kDefault), Error);
  EXPECT_NO_THROW(load_runs({shipped("a", "1"), shipped("b", "2")}, Metric::kDefault));
  EXPECT_NO_THROW(load_runs({with("a", ""), shipped("b", "2")}, Metric::kDefault));
  EXPECT_THROW(load_runs({with("a", R"("examples_hash":"1")"), with("b", R"("examples_hash":"2")")},
                         Metric::kDefault),
               Error);
}

TEST(LoadRuns, BrokenFoldersAreErrors) {
  const fs::path a = write_run("a", kRun, kAnswers);
  EXPECT_THROW(load_runs({a, a.parent_path() / "missing"}, Metric::kDefault), Error);
  EXPECT_THROW(load_runs({a, write_run("j", "{", kAnswers)}, Metric::kDefault), Error);
  EXPECT_THROW(load_runs({a, write_run("l", "[1]", kAnswers)}, Metric::kDefault), Error);
  EXPECT_THROW(load_runs({a, write_run("e", kRun, "")}, Metric::kDefault), Error);
  EXPECT_THROW(
      load_runs({a, write_run("g", kRun, "garbage\n" + std::string(kAnswers))}, Metric::kDefault),
      Error);
  EXPECT_THROW(
      load_runs({a, write_run("t", kRun, std::string(kAnswers) + kAnswers)}, Metric::kDefault),
      Error);
}

}  // namespace
}  // namespace qx
