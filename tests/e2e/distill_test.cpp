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
  const Outcome verify = run_qx({"verify", root_ / "d", "--source", root_ / "base"});
  EXPECT_EQ(verify.exit_code, 1);
  EXPECT_NE(verify.err.find("fitted codes (distill"), std::string::npos) << verify.err;
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
