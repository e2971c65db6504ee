// Loading through the command line: models that do not fit are refused, and every result says which
// kernels computed it.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class Load : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("load");
    write_tiny_model(model(), {.quantized = AffineSpec{4, 32}});
    std::ofstream(requests()) << R"({"context": "a", "continuation": "b"})" << '\n';
  }
  fs::path model() const { return root_ / "m"; }
  fs::path requests() const { return root_ / "requests.jsonl"; }
  // Of every verb that loads a model.
  std::vector<std::vector<std::string>> commands() const {
    return {{"generate", "-m", model(), "-p", "x", "--max-tokens", "2"},
            {"score", "-m", model(), "--requests", requests()},
            {"eval", "-m", model(), "--tasks", "arc_easy", "--limit", "1", "-o", root_ / "runs"}};
  }
  fs::path root_;
};

TEST_F(Load, AModelThatDoesNotFitIsRefusedWithBothFigures) {
  const std::vector<std::string> small = {"QX_MEMORY_LIMIT=100kB"};
  for (std::vector<std::string> command : commands()) {
    const Outcome refused = run_qx(command, "", small);
    EXPECT_EQ(refused.exit_code, 1) << command[0];
    EXPECT_TRUE(refused.out.empty()) << command[0] << refused.out;
    for (const char* part : {"needs ", "weights ", "available are 100.0 kB", "--allow-swap"}) {
      EXPECT_NE(refused.err.find(part), std::string::npos) << command[0] << refused.err;
    }
    command.push_back("--allow-swap");
    const Outcome allowed = run_qx(command, "", small);
    EXPECT_EQ(allowed.exit_code, 0) << command[0] << allowed.err;
    EXPECT_NE(allowed.err.find("available are 100.0 kB"), std::string::npos) << allowed.err;
  }
}

TEST_F(Load, TheContextAskedForCounts) {
  // 3 tokens need 0.5 MB, 512 tokens 5.7 MB.
  const std::vector<std::string> limit = {"QX_MEMORY_LIMIT=2MB"};
  std::vector<std::string> command = {"generate", "-m", model(),
                                      "-p",       "x",  "--ignore-chat-template"};
  const auto run = [&](const char* tokens) {
    std::vector<std::string> all = command;
    all.insert(all.end(), {"--max-tokens", tokens});
    return run_qx(all, "", limit);
  };
  const Outcome few = run("2");
  EXPECT_EQ(few.exit_code, 0) << few.err;
  const Outcome many = run("100000");  // at most the model's 512
  EXPECT_EQ(many.exit_code, 1) << many.err;
  EXPECT_NE(many.err.find("512 tokens of context"), std::string::npos) << many.err;
}

TEST_F(Load, ALimitThatIsNoSizeIsAnError) {
  const Outcome o = run_qx(commands()[0], "", {"QX_MEMORY_LIMIT=much"});
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_NE(o.err.find("QX_MEMORY_LIMIT"), std::string::npos) << o.err;
}

TEST_F(Load, EveryResultNamesItsKernels) {
  for (std::vector<std::string> command : commands()) {
    command.insert(command.end(), {"--isa", "scalar"});
    const Outcome text = run_qx(command);
    EXPECT_EQ(text.exit_code, 0) << text.err;
    EXPECT_NE((text.out + text.err).find("scalar"), std::string::npos) << command[0] << text.err;
    command.push_back("--json");
    const Json json = run_json(command);
    EXPECT_NE(json.dump().find("\"scalar\""), std::string::npos) << command[0] << json.dump();
  }
}

}  // namespace
}  // namespace qx::e2e
