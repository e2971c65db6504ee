// qx search as a user runs it, on a tiny random model.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class Search : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("search");
    write_tiny_model(root_ / "base", {.family = "llama", .tied = true, .layers = 2});
    std::ofstream(root_ / "text.txt", std::ios::binary) << tiny_text(600);
    const Outcome made =
        run_qx({"calibrate", "-m", root_ / "base", "--text", root_ / "text.txt", "--share", "0.4",
                "-o", root_ / "cal", "--ctx", "64", "--windows", "8"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  std::vector<std::string> search(const std::string& budget, std::vector<std::string> more) const {
    std::vector<std::string> out = {"search",        "-m",          root_ / "base",
                                    "--calibration", root_ / "cal", "--budget",
                                    budget,          "-o",          root_ / "best.json"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  std::vector<std::string> measuring() const {
    return {"--text", root_ / "text.txt", "--skip", "0.5",          "--share", "0.5", "--ctx",
            "64",     "--windows",        "4",      "--candidates", "3"};
  }
  fs::path root_;
};

TEST_F(Search, FindsARecipeThatConvertTakes) {
  std::vector<std::string> more = measuring();
  more.insert(more.end(), {"--compare", "q4-hi,q3"});
  const Json found = run_json(search("like:q3-hi", more));
  EXPECT_TRUE(fs::exists(root_ / "best.sensitivity.json"));
  EXPECT_LE(found["chosen"]["bytes"], found["budget"]["bytes"]);
  EXPECT_GT(found["curve"].size(), 10U);
  EXPECT_GE(found["measured"].size(), 5U);
  EXPECT_EQ(found["text"]["overlaps_calibration"], false);
  const Json plain = run_json({"plan", "-m", root_ / "base", "--recipe", "q3-hi"});
  EXPECT_EQ(found["budget"]["bytes"], plain["tensor_bytes"]);
  const Json plan = run_json({"plan", "-m", root_ / "base", "--recipe", root_ / "best.json"});
  EXPECT_EQ(plan["plan_hash"], found["chosen"]["plan_hash"]);
  EXPECT_EQ(plan["tensor_bytes"], found["chosen"]["bytes"]);
  const Json made =
      run_json({"convert", "-m", root_ / "base", "-o", root_ / "made", "--recipe",
                root_ / "best.json", "--fit", "gptq", "--calibration", root_ / "cal"});
  EXPECT_EQ(made["tensor_bytes"], found["chosen"]["bytes"]);

  // The same again, from the sensitivities that lie there; and with them named.
  const Json again = run_json(search("like:q3-hi", {"--force"}));
  EXPECT_EQ(again["curve"], found["curve"]);
  EXPECT_TRUE(again["text"].is_null());
  const Outcome text =
      run_qx(search("5bpw", {"--force", "--sensitivity", root_ / "best.sensitivity.json",
                             "--min-bits", "3", "--keep", "*v_proj=6", "--max-widths", "2"}));
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("predicted KL"), std::string::npos) << text.out;
}

TEST_F(Search, WrongCommandLinesAndFiles) {
  const auto expect = [](const Outcome& o, int code, const std::string& text) {
    EXPECT_EQ(o.exit_code, code) << o.err;
    EXPECT_NE(o.err.find(text), std::string::npos) << o.err;
  };
  const std::vector<std::string> mse{"--fit", "mse"};
  const auto with_mse = [&](std::vector<std::string> more) {
    more.insert(more.end(), mse.begin(), mse.end());
    return more;
  };
  // What no measurement changes is said before the long one.
  expect(run_qx(search("1kB", mse)), 1, "expected at least");
  for (const char* budget : {"much", "5bits"}) expect(run_qx(search(budget, mse)), 2, budget);
  expect(run_qx(search("like:q7", mse)), 2, "'q7'");
  expect(run_qx(search("4bpw", with_mse({"--keep", "nothing=4"}))), 2, "fits no matrix");
  expect(run_qx(search("4bpw", with_mse({"--keep", "*v_proj=6", "--keep", "*q_proj=4",
                                         "--max-widths", "1"}))),
         2, "--max-widths");
  expect(run_qx(search("4bpw", with_mse({"--text", root_ / "none.txt"}))), 1, "none.txt");
  for (const char* recipe : {"q7", "f16"}) {
    expect(run_qx(search("4bpw", with_mse({"--text", root_ / "text.txt", "--compare", recipe}))), 2,
           recipe);
  }
  for (const char* option : {"--skip", "--share", "--ctx", "--windows", "--candidates"}) {
    const std::string value = std::string(option).starts_with("--s") ? "0.5" : "7";
    expect(run_qx(search("4bpw", with_mse({option, value}))), 2, "--text");
  }
  EXPECT_FALSE(fs::exists(root_ / "best.sensitivity.json"));
  EXPECT_FALSE(fs::exists(root_ / "best.json"));
  // And, where the sensitivities are there, as before.
  ASSERT_EQ(run_qx({"sensitivity", "-m", root_ / "base", "--calibration", root_ / "cal", "-o",
                    root_ / "best.sensitivity.json", "--fit", "mse", "--validate", "0"})
                .exit_code,
            0);
  expect(run_qx(search("1kB", mse)), 1, "expected at least");
  expect(run_qx(search("much", mse)), 2, "--budget");
  expect(run_qx(search("4bpw", {"--fit", "gptq"})), 1, "mse codes");
  expect(run_qx(search("4bpw", {"--fit", "mse", "--keep", "nothing=4"})), 2, "fits no matrix");
  expect(run_qx(search("4bpw", {"--fit", "mse", "--min-bits", "6", "--max-bits", "4"})), 2,
         "--min-bits");
  expect(run_qx(search("4bpw", {"--fit", "mse", "--text", root_ / "text.txt", "--ctx", "64",
                                "--share", "0.01"})),
         1, "at least one window");
  expect(run_qx({"search", "-m", root_ / "base", "--budget", "4bpw", "-o", root_ / "x.json"}), 2,
         "--calibration");
  expect(run_qx({"search", "-m", root_ / "base", "--budget", "4bpw", "-o", root_ / "x",
                 "--calibration", root_ / "cal"}),
         2, ".json");
  // Sensitivities of another model.
  write_tiny_model(root_ / "other", {.family = "llama", .tied = true, .seed = 5, .layers = 2});
  expect(run_qx({"search", "-m", root_ / "other", "--budget", "4bpw", "-o", root_ / "x.json",
                 "--sensitivity", root_ / "best.sensitivity.json"}),
         1, "other weights");
  std::ofstream(root_ / "broken.json") << "{\"format\": \"qx-sensitivity-1\"";
  expect(run_qx(search("4bpw", {"--sensitivity", root_ / "broken.json"})), 1, "broken.json");
}

}  // namespace
}  // namespace qx::e2e
