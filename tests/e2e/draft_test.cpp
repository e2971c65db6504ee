// Speculative decoding as users meet it: --draft-model, --num-draft-tokens and --prompt-lookup.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "io/json.h"
#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class Drafts : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = fresh_directory("drafts");
    write_tiny_model(root_ / "m", {.layers = 2});
    write_tiny_model(root_ / "other", {.seed = 3, .layers = 1});
    write_tiny_model(root_ / "foreign", {.layers = 1});
    std::ofstream(root_ / "foreign/tokenizer.json") << [] {
      std::string text = tiny_tokenizer_json();
      const std::string from = "<|im_start|>";
      for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from)) {
        text.replace(at, from.size(), "<|begin|>");
      }
      return text;
    }();
  }
  static std::vector<std::string> arguments(const std::vector<std::string>& more) {
    std::vector<std::string> out = {"generate",  "-m", (root_ / "m").string(), "-p", "Hi you, hi",
                                    "--threads", "2",  "--max-tokens",         "48"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  static Json generate(const std::vector<std::string>& more) { return run_json(arguments(more)); }
  static std::string path(const std::string& name) { return (root_ / name).string(); }

  static inline fs::path root_;
};

// With this bias, models that differ in everything else mostly agree, and are sure of it.
const std::vector<std::string> kLikely = {"--logit-bias", "97=40", "--logit-bias", "98=39",
                                          "--logprobs",   "2",     "--seed",       "5"};

TEST_F(Drafts, ChangeNoTextAndSaveForwardPasses) {
  for (const char* temperature : {"0", "0.8"}) {
    auto common = kLikely;
    common.insert(common.end(), {"--temp", temperature});
    const Json plain = generate(common);
    EXPECT_FALSE(plain.contains("drafts"));
    const std::vector<std::string> drafters[] = {
        {"--draft-model", path("m")},
        {"--draft-model", path("other"), "--num-draft-tokens", "6"},
        {"--prompt-lookup", "8"},
        {"--draft-model", path("m"), "--prompt-lookup", "4"}};
    for (const auto& drafter : drafters) {
      SCOPED_TRACE(std::string(temperature) + " " + drafter[0]);
      auto more = common;
      more.insert(more.end(), drafter.begin(), drafter.end());
      const Json out = generate(more);
      EXPECT_EQ(out.at("text"), plain.at("text"));
      EXPECT_EQ(out.at("tokens"), plain.at("tokens"));
      EXPECT_EQ(out.at("logprobs"), plain.at("logprobs"));
      EXPECT_EQ(out.at("finish_reason"), plain.at("finish_reason"));
      const Json& drafts = out.at("drafts");
      const auto drafted = drafts.at("drafted").get<int>(),
                 accepted = drafts.at("accepted").get<int>();
      EXPECT_GT(accepted, 4);
      EXPECT_LE(accepted, drafted);
      EXPECT_DOUBLE_EQ(drafts.at("acceptance").get<double>(),
                       static_cast<double>(accepted) / drafted);
      // Each pass makes one token more than guesses are right; the first of all is the prompt's.
      EXPECT_EQ(drafts.at("passes").get<int>() + accepted, 47);
      EXPECT_EQ(drafts.at("model").is_null(), drafter[0] == "--prompt-lookup");
    }
  }
}

TEST_F(Drafts, TheSummaryTellsWhatBecameOfThem) {
  auto more = kLikely;
  more.resize(4);
  more.insert(more.end(), {"--prompt-lookup", "8"});
  const Outcome outcome = run_qx(arguments(more));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("Drafts: "), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find(" guesses accepted ("), std::string::npos) << outcome.err;
  more.resize(4);
  EXPECT_EQ(run_qx(arguments(more)).err.find("Drafts: "), std::string::npos);
}

TEST_F(Drafts, WithASchemaAndStopTexts) {
  std::ofstream(root_ / "schema.json") << R"({"type": "object", "required": ["first", "second"],
    "properties": {"first": {"enum": ["yes", "no"]}, "second": {"type": "boolean"}},
    "additionalProperties": false})";
  const std::vector<std::string> schema = {"--json-schema", path("schema.json")};
  const Json plain = generate(schema);
  EXPECT_EQ(plain.at("finish_reason"), "stop");
  for (const char* draft : {"m", "other"}) {
    auto more = schema;
    more.insert(more.end(), {"--draft-model", path(draft)});
    const Json out = generate(more);
    EXPECT_EQ(out.at("text"), plain.at("text"));
    EXPECT_GT(out.at("drafts").at("accepted").get<int>(), 4);
  }
  auto stop = kLikely;
  stop.insert(stop.end(), {"--temp", "1", "--stop", "ba"});
  const Json stopped = generate(stop);
  stop.insert(stop.end(), {"--draft-model", path("m"), "--num-draft-tokens", "9"});
  const Json guessed = generate(stop);
  EXPECT_EQ(guessed.at("text"), stopped.at("text"));
  EXPECT_EQ(guessed.at("tokens"), stopped.at("tokens"));
  EXPECT_EQ(guessed.at("finish_reason"), stopped.at("finish_reason"));
}

TEST_F(Drafts, AreRefusedWhereTheyCannotBe) {
  const Outcome foreign = run_qx(arguments({"--draft-model", path("foreign")}));
  EXPECT_EQ(foreign.exit_code, 1);
  EXPECT_NE(foreign.err.find("got '<|begin|>' for token"), std::string::npos) << foreign.err;
  EXPECT_EQ(run_qx(arguments({"--draft-model", path("absent")})).exit_code, 1);
  for (const auto& [option, value] :
       {std::pair("--num-draft-tokens", "0"), std::pair("--num-draft-tokens", "33"),
        std::pair("--prompt-lookup", "-1"), std::pair("--prompt-lookup", "33")}) {
    EXPECT_EQ(run_qx(arguments({option, value})).exit_code, 2) << option << " " << value;
  }
  // Both models together must fit.
  const Outcome large =
      run_qx(arguments({"--draft-model", path("m"), "--ctx", "400"}), "", {"QX_MEMORY_LIMIT=1MB"});
  EXPECT_EQ(large.exit_code, 1) << large.err;
}

TEST_F(Drafts, InAChat) {
  const auto chat = [&](std::vector<std::string> more, const std::string& input) {
    std::vector<std::string> out = {"chat",         "-m", path("m"),      "--threads",    "2",
                                    "--max-tokens", "20", "--no-history", "--logit-bias", "97=40",
                                    "--temp",       "1"};
    out.insert(out.end(), more.begin(), more.end());
    return run_qx(out, input);
  };
  const std::string input = "Hi\nAgain\n";
  const Outcome plain = chat({}, input);
  const Outcome drafted = chat({"--draft-model", path("m"), "--prompt-lookup", "4"}, input);
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_EQ(drafted.exit_code, 0) << drafted.err;
  EXPECT_EQ(drafted.out, plain.out);
  EXPECT_EQ(plain.err.find("[drafts: "), std::string::npos);
  EXPECT_NE(drafted.err.find("[drafts: "), std::string::npos) << drafted.err;
  // A model of another tokenizer goes on without.
  const Outcome changed =
      chat({"--draft-model", path("m")}, "/model " + path("foreign") + "\nHi\n");
  EXPECT_EQ(changed.exit_code, 0) << changed.err;
  EXPECT_NE(changed.err.find("going on without the draft model"), std::string::npos) << changed.err;
  EXPECT_EQ(chat({"--draft-model", path("foreign")}, input).exit_code, 1);
}

}  // namespace
}  // namespace qx::e2e
