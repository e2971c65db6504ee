// SPDX-License-Identifier: Apache-2.0
#include "compare/unpaired.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

AccuracyRun run(const std::string& name, const std::string& metric, double accuracy,
                std::int64_t n) {
  AccuracyRun r{name, false, {}};
  r.tasks["hellaswag"][metric] = {accuracy, n};
  return r;
}

TEST(Unpaired, TwoProportions) {
  // 0.611 against 0.632 of 10042: z -3.07, p 0.002, as a published model card's figures give.
  const UnpairedPair pair = compare_unpaired(run("a", "acc_norm", 0.632, 10042),
                                             run("b", "acc_norm", 0.611, 10042), Metric::kDefault);
  ASSERT_EQ(pair.tasks.size(), 1u);
  EXPECT_NEAR(pair.tasks[0].z, -3.07, 0.005);
  EXPECT_NEAR(pair.tasks[0].p, 0.0021, 0.0001);
  EXPECT_EQ(pair.tasks[0].verdict, Verdict::kWorse);
  EXPECT_LT(pair.tasks[0].interval.high, 0);
  // Newcombe (1998), Statistics in Medicine 17:873, table II: 56/70 against 48/80, method 10.
  const UnpairedPair known = compare_unpaired(run("a", "acc", 48.0 / 80, 80),
                                              run("b", "acc", 56.0 / 70, 70), Metric::kAcc);
  EXPECT_NEAR(known.tasks[0].interval.low, 0.0524, 0.00005);
  EXPECT_NEAR(known.tasks[0].interval.high, 0.3339, 0.00005);
}

TEST(Unpaired, OnlyOneMetricIsCompared) {
  const AccuracyRun norm = run("a", "acc_norm", 0.5, 10);
  EXPECT_THROW(compare_unpaired(norm, run("b", "acc", 0.5, 10), Metric::kDefault), Error);
  EXPECT_THROW(compare_unpaired(norm, run("b", "acc_norm", 0.5, 10), Metric::kAcc), Error);
  // All right in both: no variance, no difference.
  const UnpairedPair same =
      compare_unpaired(run("a", "acc", 1, 10), run("b", "acc", 1, 12), Metric::kDefault);
  EXPECT_EQ(same.tasks[0].p, 1.0);
  EXPECT_EQ(same.tasks[0].verdict, Verdict::kIndistinguishable);
}

TEST(Unpaired, FoldersAreRead) {
  const fs::path folder = fs::path(testing::TempDir()) / "qx_unpaired" / "m";
  fs::remove_all(folder);
  fs::create_directories(folder);
  std::ofstream(folder / "run.json") << "{}";
  std::ofstream(folder / "results.json")
      << R"({"results": {"boolq": {"sample_len": 40, "acc,none": 0.5}}})";
  EXPECT_TRUE(has_accuracies_only(folder));
  EXPECT_EQ(load_accuracies(folder).tasks.at("boolq").at("acc").n, 40);
  std::ofstream(folder / "answers-boolq.jsonl") << "";
  EXPECT_FALSE(has_accuracies_only(folder));
  for (const char* bad :
       {"[]", "{}", R"({"results": {"boolq": {"sample_len": 0, "acc,none": 0.5}}})",
        R"({"results": {"boolq": {"sample_len": 3, "acc,none": 1.5}}})"}) {
    std::ofstream(folder / "results.json") << bad;
    EXPECT_THROW(load_accuracies(folder), Error) << bad;
  }
}

}  // namespace
}  // namespace qx
