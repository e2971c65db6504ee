// qx sensitivity as a user runs it, on a tiny random model.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class SensitivityVerb : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("sensitivity");
    write_tiny_model(root_ / "base", {.family = "qwen3", .tied = true, .layers = 2});
    std::ofstream(root_ / "text.txt", std::ios::binary) << tiny_text(400);
    const Outcome made = run_qx({"calibrate", "-m", root_ / "base", "--text", root_ / "text.txt",
                                 "-o", root_ / "cal", "--ctx", "64", "--windows", "8"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  std::vector<std::string> sensitivity(std::vector<std::string> more) const {
    std::vector<std::string> out = {"sensitivity", "-m", root_ / "base", "--calibration",
                                    root_ / "cal"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  fs::path root_;
};

TEST_F(SensitivityVerb, WritesAFileThatNamesWhatItWasMadeOf) {
  const Json json = run_json(sensitivity(
      {"--bits", "4,3", "--groups", "32,64", "--validate", "5", "-o", root_ / "s.json"}));
  EXPECT_EQ(json["tensors"].size(), 15u);
  EXPECT_EQ(json["tensors"][0]["source"], "measured");
  EXPECT_EQ(json["tensors"][1]["source"], "gradient");
  EXPECT_EQ(json["tensors"][1]["options"].size(), 4u);
  EXPECT_EQ(json["validation"]["pairs"].size(), 5u);
  EXPECT_EQ(json["fit"], "gptq");
  std::ifstream in(root_ / "s.json");
  const Json file = Json::parse(in);
  EXPECT_EQ(file["tensors"], json["tensors"]);
  EXPECT_EQ(file["format"], "qx-sensitivity-1");
  EXPECT_EQ(file["model"]["weights"].size(), 1u);

  const Outcome text = run_qx(sensitivity({"--bits", "3,4", "--validate", "0", "--fit", "mse"}));
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("embedding"), std::string::npos);
  EXPECT_NE(text.out.find("measured"), std::string::npos);
  EXPECT_EQ(text.out.find("correlation"), std::string::npos);
}

TEST_F(SensitivityVerb, WrongCommandLinesAndFiles) {
  const auto expect = [](const Outcome& o, int code, const std::string& text) {
    EXPECT_EQ(o.exit_code, code) << o.err;
    EXPECT_NE(o.err.find(text), std::string::npos) << o.err;
  };
  expect(run_qx(sensitivity({"--bits", "7"})), 2, "--bits");
  expect(run_qx(sensitivity({"--fit", "awq"})), 2, "--fit");
  expect(run_qx(sensitivity({"-o", root_ / "text.txt"})), 1, "exists");
  expect(run_qx({"sensitivity", "-m", root_ / "base"}), 2, "--calibration");
  expect(run_qx({"sensitivity", "-m", root_ / "base", "--calibration", root_ / "text.txt"}), 1,
         "text.txt");
  write_tiny_model(root_ / "other", {.family = "qwen3", .tied = true, .seed = 5, .layers = 2});
  expect(run_qx({"sensitivity", "-m", root_ / "other", "--calibration", root_ / "cal"}), 1,
         "other weights");
}

}  // namespace
}  // namespace qx::e2e
