// What qx generate's sampling options do, and what they refuse.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "io/json.h"
#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

// Ids of the tiny tokenizer's first 256 tokens are bytes.
class Sampling : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = fresh_directory("sampling");
    write_tiny_model(root_ / "m", {.layers = 1});
  }
  static std::vector<std::string> arguments(const std::vector<std::string>& more) {
    std::vector<std::string> out = {
        "generate",  "-m", (root_ / "m").string(), "-p", "Hi",
        "--threads", "2",  "--max-tokens",         "8",  "--ignore-chat-template"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  static Json generate(const std::vector<std::string>& more) { return run_json(arguments(more)); }

  static inline fs::path root_;
};

TEST_F(Sampling, BiasAndPenalties) {
  EXPECT_EQ(generate({"--logit-bias", "97=1e5"}).at("text"), "aaaaaaaa");
  EXPECT_EQ(generate({"--logit-bias", "a=1e5"}).at("text"), "aaaaaaaa");
  EXPECT_EQ(generate({"--logit-bias", "97=3000", "--logit-bias", "98=2900", "--presence-penalty",
                      "200", "--presence-context-size", "1"})
                .at("text"),
            "abababab");
  // Each a costs 200 more: two of them until b, at 2700, is better; then two again.
  EXPECT_EQ(generate({"--logit-bias", "97=3000", "--logit-bias", "98=2700", "--frequency-penalty",
                      "200", "--frequency-context-size", "0"})
                .at("text"),
            "aabababa");
  EXPECT_EQ(
      generate({"--logit-bias", "97=3000", "--logit-bias", "98=2000", "--repetition-penalty", "2"})
          .at("text"),
      "abaaaaaa");
}

TEST_F(Sampling, XtcDropsTheBest) {
  // All but two have a probability of 0, which no threshold is below; b has e^-20.
  const std::vector<std::string> two = {"--logit-bias", "97=3020", "--logit-bias", "98=3000",
                                        "--temp",       "1",       "--top-k",      "2"};
  auto always = two;
  always.insert(always.end(), {"--xtc-probability", "1", "--xtc-threshold", "0"});
  EXPECT_EQ(generate(always).at("text"), "bbbbbbbb");
  auto line_feeds =
      std::vector<std::string>{"--logit-bias", "10=3001", "--logit-bias",      "98=3000",
                               "--temp",       "0.01",    "--xtc-probability", "1"};
  EXPECT_EQ(generate(line_feeds).at("text"), "\n\n\n\n\n\n\n\n");  // never dropped
}

TEST_F(Sampling, StopTexts) {
  const std::vector<std::string> letters = {"--logit-bias",
                                            "97=3000",
                                            "--logit-bias",
                                            "98=2900",
                                            "--presence-penalty",
                                            "200",
                                            "--presence-context-size",
                                            "1"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), letters.begin(), letters.end());
    return generate(more);
  };
  const Json stopped = with({"--stop", "xyz", "--stop", "bab"});
  EXPECT_EQ(stopped.at("text"), "a");
  EXPECT_EQ(stopped.at("finish_reason"), "stop");
  EXPECT_EQ(stopped.at("tokens").size(), 4u);
  const Json held = with({"--stop", "ababababa"});  // never whole: all of it is shown
  EXPECT_EQ(held.at("text"), "abababab");
  EXPECT_EQ(held.at("finish_reason"), "length");
}

TEST_F(Sampling, WhatIsRefused) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--logit-bias", "97"},
      {"--logit-bias", "=3"},
      {"--logit-bias", "97=much"},
      {"--logit-bias", "97=nan"},
      {"--logit-bias", "97=1e300"},
      {"--logit-bias", "384=1"},
      {"--logit-bias", "-1=1"},
      {"--logit-bias", "nosuchtoken=1"},
      {"--logit-bias", "97=1", "--logit-bias", "a=1"},
      {"--extra-eos-token", "384"},
      {"--stop", ""},
      {"--top-k", "384"},
      {"--xtc-probability", "1.5"},
      {"--xtc-threshold", "0.6"},
      {"--repetition-penalty", "-1"},
      {"--repetition-context-size", "-1"},
      {"--presence-penalty", "nan"},
      {"--temp", "nan"},
      {"--frequency-penalty", "1e300"},
  };
  for (const std::vector<std::string>& options : wrong) {
    const Outcome outcome = run_qx(arguments(options));
    EXPECT_EQ(outcome.exit_code, 2) << options[0] << " " << options[1] << "\n" << outcome.err;
    EXPECT_NE(outcome.err.find(options[0]), std::string::npos) << outcome.err;
  }
}

}  // namespace
}  // namespace qx::e2e
