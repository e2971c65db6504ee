// qx calibrate and qx convert --fit as a user runs them, on a tiny random model.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class Fitting : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("fitting");
    write_tiny_model(root_ / "base", {.family = "qwen3", .tied = true, .context = 128});
    std::string words;
    for (int i = 0; i < 400; ++i) {
      words += "word" + std::to_string(i * i % 97) + (i % 9 ? " " : "\n\n");
    }
    std::ofstream(root_ / "text.txt", std::ios::binary) << words;
  }
  std::vector<std::string> calibrate(const std::string& target) const {
    return {"calibrate", "-m", root_ / "base", "--text", root_ / "text.txt", "-o", root_ / target,
            "--ctx",     "64", "--windows",    "8"};
  }
  std::vector<std::string> convert(const std::string& target, std::vector<std::string> more) const {
    std::vector<std::string> out = {"convert",  "-m", root_ / "base", "-o", root_ / target,
                                    "--recipe", "q3"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  fs::path root_;
};

TEST_F(Fitting, CalibrateConvertAndLoad) {
  const Json report = run_json(calibrate("cal"));
  EXPECT_EQ(report["tokens"], 512);
  EXPECT_EQ(report["passes"], 1);
  const auto bytes = report["bytes"].get<std::uintmax_t>();  // of the arrays, without the header
  EXPECT_GT(fs::file_size(root_ / "cal"), bytes);
  EXPECT_LT(fs::file_size(root_ / "cal"), bytes + 20000);
  for (const std::string fit : {"mse", "gptq"}) {
    const Json made = run_json(convert(fit, {"--fit", fit, "--calibration", root_ / "cal"}));
    EXPECT_EQ(made["fit"], fit);
    // It loads and runs as any other directory.
    const Json ppl =
        run_json({"perplexity", "-m", root_ / fit, "--text", root_ / "text.txt", "--ctx", "64"});
    EXPECT_TRUE(ppl["ppl"].is_number());
    const Outcome verify = run_qx({"verify", root_ / fit, "--source", root_ / "base"});
    EXPECT_EQ(verify.exit_code, 1);
    EXPECT_NE(verify.err.find("fitted codes (" + fit), std::string::npos) << verify.err;
  }
}

TEST_F(Fitting, WrongCommandLinesAndFiles) {
  const auto expect = [](const Outcome& o, int code, const std::string& text) {
    EXPECT_EQ(o.exit_code, code) << o.err;
    EXPECT_NE(o.err.find(text), std::string::npos) << o.err;
  };
  expect(run_qx(convert("x", {"--fit", "mse"})), 2, "needs --calibration");
  expect(run_qx(convert("x", {"--calibration", root_ / "cal"})), 2, "goes with --fit");
  expect(run_qx(convert("x", {"--fit", "gptq", "--calibration", root_ / "none"})), 1, "none");
  expect(run_qx(convert("x", {"--fit", "gptq", "--calibration", root_ / "text.txt"})), 1,
         "text.txt");
  expect(run_qx(convert("x", {"--fit", "mse", "--calibration", root_ / "c", "--rounding", "gpu"})),
         2, "--rounding");
  ASSERT_EQ(run_qx(calibrate("cal")).exit_code, 0);
  std::vector<std::string> floats = convert("x", {"--fit", "mse", "--calibration", root_ / "cal"});
  *std::find(floats.begin(), floats.end(), "q3") = "bf16";
  expect(run_qx(floats), 2, "a recipe that quantizes");
  EXPECT_FALSE(fs::exists(root_ / "x"));
  std::vector<std::string> wrong = calibrate("y");
  wrong.insert(wrong.end(), {"--skip", "0.7", "--share", "0.5"});
  expect(run_qx(wrong), 2, "--share");
  std::ofstream(root_ / "text.txt", std::ios::trunc) << "short";
  expect(run_qx(calibrate("y")), 1, "at least one window");
  EXPECT_FALSE(fs::exists(root_ / "y"));
}

}  // namespace
}  // namespace qx::e2e
