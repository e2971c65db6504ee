// Speed and distance beside the scores: qx bench -o RUNS/NAME and qx divergence -o RUNS.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "run_qx.h"
#include "runs/measurements.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class MeasurementsOfRuns : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("measurements");
    write_tiny_model(root_ / "bf16", TinyModel{});
    for (const char* recipe : {"q4", "q8"}) {
      ASSERT_EQ(run_qx({"convert", "-m", root_ / "bf16", "-o", root_ / recipe, "--recipe", recipe})
                    .exit_code,
                0);
    }
    std::ofstream text(root_ / "text.txt");
    for (int i = 0; i < 40; ++i)
      text << "The cat sat on the mat and looked at number " << i << ". ";
    text.close();
    const Outcome eval = run_qx({"eval", "-m", root_ / "bf16", "-m", root_ / "q4", "--tasks",
                                 "arc_easy,boolq", "--limit", "4", "--plain", "-o", runs()});
    ASSERT_EQ(eval.exit_code, 0) << eval.err;
  }
  std::string runs() const { return root_ / "runs"; }
  std::vector<std::string> bench(const std::string& model, const fs::path& output) const {
    return {"bench", "-m", root_ / model, "-p",         "4",  "-n",
            "2",     "-r", "1",           "--no-peaks", "-o", output};
  }
  std::vector<std::string> divergence(const std::vector<std::string>& models,
                                      const fs::path& output) const {
    std::vector<std::string> command = {
        "divergence", "--base", root_ / "bf16", "--text", root_ / "text.txt",
        "--ctx",      "20",     "-o",           output};
    for (const std::string& model : models) {
      command.insert(command.end(), {"-m", root_ / model});
    }
    return command;
  }
  void expect_error(const std::vector<std::string>& command, int code, const std::string& part) {
    const Outcome o = run_qx(command);
    EXPECT_EQ(o.exit_code, code) << o.err;
    EXPECT_NE(o.err.find(part), std::string::npos) << o.err;
  }

  fs::path root_;
};

TEST_F(MeasurementsOfRuns, SpeedLiesBesideTheScoresOfItsOwnModel) {
  const fs::path run = fs::path(runs()) / "q4";
  expect_error(bench("q8", run), 1, "another model");
  EXPECT_FALSE(fs::exists(run / "bench.json"));
  expect_error({"bench", "--random", "smollm2-135m:q4", "-o", run}, 2, "--random");
  expect_error(bench("q4", root_ / "text.txt"), 1, "is a file");

  ASSERT_EQ(run_qx(bench("q4", run)).exit_code, 0);
  const std::optional<SpeedFacts> facts = load_speed(run);
  ASSERT_TRUE(facts);
  EXPECT_GT(facts->decode_tps, 0);
  EXPECT_EQ(facts->prompt_tokens, 4);
  EXPECT_FALSE(facts->read_share);
  expect_error(bench("q4", run), 1, "exists already");
  std::vector<std::string> again = bench("q4", run);
  again.push_back("--force");
  EXPECT_EQ(run_qx(again).exit_code, 0);

  const Outcome list = run_qx({"runs", runs()});
  EXPECT_NE(list.out.find("measured: bench.json\n"), std::string::npos) << list.out;
  EXPECT_EQ(run_json({"runs", runs()})["runs"][1]["measurements"], Json({"bench.json"}));
  fs::copy_file(run / "bench.json", fs::path(runs()) / "bf16/bench.json");
  const Outcome odd = run_qx({"runs", runs()});
  EXPECT_EQ(odd.exit_code, 0);
  EXPECT_NE(odd.out.find("was not measured with the model of this run"), std::string::npos)
      << odd.out;
}

TEST_F(MeasurementsOfRuns, MeasuredFirstAskedLater) {
  const fs::path run = fs::path(runs()) / "q8";
  ASSERT_EQ(run_qx(bench("q8", run)).exit_code, 0);
  const std::vector<std::string> eval = {"eval",    "-m", root_ / "q8", "--tasks", "arc_easy",
                                         "--limit", "2",  "--plain",    "-o",      runs()};
  const Outcome first = run_qx(eval);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_TRUE(load_speed(run));
  // Starting over keeps what is of the same model, and drops what is not.
  std::vector<std::string> over = eval;
  over.push_back("--force");
  ASSERT_EQ(run_qx(over).exit_code, 0);
  EXPECT_TRUE(load_speed(run));
  over[2] = "q8=" + (root_ / "q4").string();
  ASSERT_EQ(run_qx(over).exit_code, 0);
  EXPECT_FALSE(fs::exists(run / "bench.json"));
}

TEST_F(MeasurementsOfRuns, DistancesOfEveryVariantButTheBase) {
  const Outcome o = run_qx(divergence({"bf16", "q4", "q8"}, runs()));
  ASSERT_EQ(o.exit_code, 0) << o.err;
  EXPECT_NE(o.err.find("bf16 is the base itself"), std::string::npos) << o.err;
  EXPECT_FALSE(fs::exists(fs::path(runs()) / "bf16/divergence.json"));
  const std::optional<DistanceFacts> q4 = load_distance(fs::path(runs()) / "q4");
  ASSERT_TRUE(q4);
  EXPECT_GT(q4->kl_mean, 0);
  EXPECT_GT(q4->kl_stderr, 0);
  EXPECT_EQ(q4->base, "bf16");
  EXPECT_EQ(q4->text_sha256.size(), 64u);
  EXPECT_TRUE(fs::exists(fs::path(runs()) / "q8/divergence.json"));  // no run there yet
  const Json file = read_json_file(fs::path(runs()) / "q4/divergence.json");
  EXPECT_EQ(file["name"], "q4");
  EXPECT_EQ(file["base"]["name"], "bf16");
  EXPECT_TRUE(file["windows"].is_object());

  expect_error(divergence({"q4"}, runs()), 1, "exists already");
  std::vector<std::string> again = divergence({"q4"}, runs());
  again.push_back("--force");
  EXPECT_EQ(run_qx(again).exit_code, 0);
  expect_error(divergence({"q4"}, fs::path(runs()) / "q4"), 1, "is a run itself");
  expect_error(divergence({"q4"}, root_ / "text.txt"), 1, "is a file");
  std::vector<std::string> other = divergence({}, runs());
  other.insert(other.end(), {"-m", "q4=" + (root_ / "q8").string(), "--force"});
  expect_error(other, 1, "another model");
}

TEST_F(MeasurementsOfRuns, ShardsKeepTheirMeasurementsWhenJoined) {
  for (const char* shard : {"1/2", "2/2"}) {
    const std::string out = root_ / (std::string("shard") + shard[0]);
    ASSERT_EQ(run_qx({"eval", "-m", root_ / "q4", "--tasks", "boolq", "--limit", "4", "--plain",
                      "--shard", shard, "-o", out})
                  .exit_code,
              0);
  }
  ASSERT_EQ(run_qx(bench("q4", root_ / "shard2/q4")).exit_code, 0);
  const Outcome o =
      run_qx({"merge-runs", root_ / "shard1/q4", root_ / "shard2/q4", "-o", root_ / "joined"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  EXPECT_TRUE(load_speed(root_ / "joined"));
}

}  // namespace
}  // namespace qx::e2e
