// qx distill as a user runs it, on a tiny random model.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class DistillVerb : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("distill");
    write_tiny_model(root_ / "base", {.family = "qwen2", .tied = true, .context = 128});
    std::ofstream(root_ / "text.txt", std::ios::binary) << tiny_text(400);
    ASSERT_EQ(
        run_qx({"convert", "-m", root_ / "base", "-o", root_ / "q3", "--recipe", "q3"}).exit_code,
        0);
  }
  std::vector<std::string> distill(const std::string& target, std::vector<std::string> more) const {
    std::vector<std::string> out = {"distill",
                                    "-m",
                                    root_ / "q3",
                                    "--base",
                                    root_ / "base",
                                    "--text",
                                    root_ / "text.txt",
                                    "-o",
                                    root_ / target,
                                    "--ctx",
                                    "64",
                                    "--steps",
                                    "12",
                                    "--validation",
                                    "3",
                                    "--rate",
                                    "0.02"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  fs::path root_;
};

TEST_F(DistillVerb, MakesADirectoryThatDivergesLess) {
  const Json report = run_json(distill("d", {"--share", "0.5"}));
  EXPECT_EQ(report["method"], "distill");
  EXPECT_EQ(report["steps"], 12);
  EXPECT_LT(report["validation_kl"][1].get<double>(), report["validation_kl"][0].get<double>());
  const auto kl = [&](const std::string& name) {
    const Json d = run_json({"divergence", "-m", root_ / name, "--base", root_ / "base", "--text",
                             root_ / "text.txt", "--ctx", "64", "--quiet"});
    return d["kl_mean"].get<double>();
  };
  EXPECT_LT(kl("d"), kl("q3"));
  EXPECT_EQ(fs::file_size(root_ / "d/model.safetensors"),
            fs::file_size(root_ / "q3/model.safetensors"));
  // Whether a calibration is given or not.
  ASSERT_EQ(run_qx({"calibrate", "-m", root_ / "base", "--text", root_ / "text.txt", "-o",
                    root_ / "cal", "--ctx", "64", "--windows", "4"})
                .exit_code,
            0);
  std::vector<std::string> verify = {"verify", root_ / "d", "--source", root_ / "base"};
  for (int i = 0; i < 2; ++i) {
    const Outcome o = run_qx(verify);
    EXPECT_EQ(o.exit_code, 1);
    EXPECT_NE(o.err.find("cannot be derived again"), std::string::npos) << o.err;
    EXPECT_EQ(o.err.find("--calibration"), std::string::npos) << o.err;
    verify.insert(verify.end(), {"--calibration", root_ / "cal"});
  }
}

// As of a directory that another program made.
TEST_F(DistillVerb, ADirectoryWithoutARecordGetsOne) {
  const Json before = run_json({"inspect", root_ / "q3"});
  fs::remove(root_ / "q3/qx_plan.json");
  const Json report = run_json(distill("d", {}));
  const Json record = read_json_file(root_ / "d/qx_plan.json");
  EXPECT_EQ(record["fit"]["method"], "distill");
  EXPECT_EQ(record["fit"]["validation_kl"], report["validation_kl"]);
  EXPECT_EQ(record["plan_hash"], before["plan_hash"]);
  const Json after = run_json({"inspect", root_ / "d"});
  EXPECT_EQ(after["warnings"], Json::array());
  EXPECT_EQ(after["plan_hash"], before["plan_hash"]);
  const Outcome verify = run_qx({"verify", root_ / "d", "--source", root_ / "base"});
  EXPECT_NE(verify.err.find("cannot be derived again"), std::string::npos) << verify.err;
}

TEST_F(DistillVerb, WrongCommandLinesAndFiles) {
  const auto expect = [](const Outcome& o, int code, const std::string& text) {
    EXPECT_EQ(o.exit_code, code) << o.err;
    EXPECT_NE(o.err.find(text), std::string::npos) << o.err;
  };
  expect(run_qx(distill("x", {"--skip", "0.7", "--share", "0.5"})), 2, "--share");
  expect(run_qx(distill("x", {"--steps", "0"})), 2, "--steps");
  expect(run_qx(distill("x", {"--calibration", root_ / "text.txt"})), 2, "--calibration");
  std::vector<std::string> both = distill("x", {"--calibration", root_ / "text.txt"});
  both.erase(std::find(both.begin(), both.end(), "--ctx"),
             std::find(both.begin(), both.end(), "--steps"));
  expect(run_qx(both), 2, "expected one of --text");
  expect(run_qx({"distill", "-m", root_ / "base", "--base", root_ / "base", "--text",
                 root_ / "text.txt", "-o", root_ / "x", "--ctx", "64"}),
         1, "no quantized matrix");
  expect(run_qx(distill("q3", {})), 1, "exists");
  std::ofstream(root_ / "text.txt", std::ios::trunc) << "short";
  expect(run_qx(distill("x", {})), 1, "at least one window");
  std::ofstream(root_ / "text.txt", std::ios::trunc);
  EXPECT_EQ(run_qx(distill("x", {})).exit_code, 1);
  EXPECT_FALSE(fs::exists(root_ / "x"));
}

}  // namespace
}  // namespace qx::e2e
