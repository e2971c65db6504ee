// What every verb has in common: help, version, exit codes, where messages go.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "run_qx.h"

namespace qx::e2e {
namespace {

const std::vector<std::string> kVerbs = {
    "import",   "convert",   "plan",        "inspect",    "verify",     "diff",
    "tokenize", "generate",  "chat",        "bench",      "score",      "eval",
    "show",     "runs",      "merge-runs",  "import-run", "export-run", "data",
    "compare",  "audit",     "perplexity",  "divergence", "serve",      "report",
    "card",     "calibrate", "sensitivity", "search",     "distill",    "publish"};

TEST(Cli, HelpListsEveryVerbAndEveryVerbHasAnExample) {
  const Outcome help = run_qx({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const std::string& verb : kVerbs) {
    EXPECT_NE(help.out.find("\n  " + verb + " "), std::string::npos) << verb;
    const Outcome own = run_qx({verb, "--help"});
    EXPECT_EQ(own.exit_code, 0) << verb;
    const std::size_t example = own.out.find("Example:\n");
    ASSERT_NE(example, std::string::npos) << own.out;
    EXPECT_NE(own.out.find("qx " + verb + " ", example), std::string::npos) << own.out;
    EXPECT_TRUE(own.err.empty()) << own.err;
  }
}

TEST(Cli, VersionNamesCommitCompilerAndKernels) {
  const Outcome version = run_qx({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  for (const char* part : {"qx 0.2.0", "commit", "compiler", "kernels"}) {
    EXPECT_NE(version.out.find(part), std::string::npos) << version.out;
  }
}

TEST(Cli, WrongCommandLinesExitWithTwo) {
  EXPECT_EQ(run_qx({}).exit_code, 2);
  EXPECT_EQ(run_qx({"frobnicate"}).exit_code, 2);
  for (const std::string& verb : kVerbs) {
    const Outcome unknown = run_qx({verb, "--no-such-option"});
    EXPECT_EQ(unknown.exit_code, 2) << verb;
    EXPECT_TRUE(unknown.out.empty()) << verb << unknown.out;
    EXPECT_FALSE(unknown.err.empty()) << verb;
  }
}

// Every option of every verb that takes a fraction, as its help names them.
TEST(Cli, NoOptionTakesNaN) {
  int options = 0;
  for (const std::string& verb : kVerbs) {
    std::istringstream lines(run_qx({verb, "--help"}).out);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t begin = line.find("--"), end = line.find(' ', begin);
      if (begin == std::string::npos || end == std::string::npos) continue;
      if (line.compare(end, 6, " FLOAT") != 0) continue;
      const std::string option = line.substr(begin, end - begin);
      const Outcome nan = run_qx({verb, option, "nan"});
      EXPECT_EQ(nan.exit_code, 2) << verb << " " << option;
      EXPECT_NE(nan.err.find("got nan, expected a "), std::string::npos)
          << verb << " " << option << ": " << nan.err;
      ++options;
    }
  }
  EXPECT_GT(options, 25);
}

TEST(Cli, UnknownPrecisionsAreRefused) {
  const Outcome o = run_qx({"generate", "-m", "/nonexistent", "-p", "x", "--precision", "sloppy"});
  EXPECT_EQ(o.exit_code, 2) << o.err;
  EXPECT_NE(o.err.find("reference, exact or fast"), std::string::npos) << o.err;
}

TEST(Cli, MissingInputsExitWithOneAndNameThePlace) {
  const std::string missing = "/nonexistent/model";
  const std::string target = (fresh_directory("missing") / "out").string();
  const std::vector<std::vector<std::string>> commands = {
      {"import", missing + ".gguf", "-o", target},
      {"convert", "-m", missing, "-o", target, "--recipe", "q4"},
      {"plan", "-m", missing, "--recipe", "q4"},
      {"inspect", missing},
      {"tokenize", "-m", missing, "x"},
      {"generate", "-m", missing, "-p", "x"},
      {"score", "-m", missing, "--requests", "/nonexistent.jsonl"},
      {"eval", "-m", missing, "--tasks", "piqa", "-o", target},
      {"compare", missing, missing + "2"},
      {"audit", missing + ".md"},
      {"data", "check", "--data", missing},
      {"verify", missing, "--source", missing},
      {"diff", missing, missing},
      {"perplexity", "-m", missing, "--text", "/nonexistent.txt"},
      {"divergence", "-m", missing, "--base", missing, "--text", "/nonexistent.txt"}};
  for (const auto& command : commands) {
    const Outcome o = run_qx(command);
    EXPECT_EQ(o.exit_code, 1) << command[0] << ": " << o.err;
    const std::string verb = command[0] == "data" ? "data check" : command[0];
    EXPECT_EQ(o.err.rfind("qx " + verb + ": [", 0), 0u) << o.err;
    EXPECT_NE(o.err.find("/nonexistent"), std::string::npos) << o.err;
    EXPECT_TRUE(o.out.empty()) << o.out;
    EXPECT_FALSE(std::filesystem::exists(target));
  }
}

TEST(Cli, AMessageThatCannotBeWrittenIsLostAndTheExitCodeIsNot) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no device that is full";
  const std::string command = std::string(program()) + " inspect /nonexistent 2> /dev/full";
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

TEST(Completion, BashCompletesVerbsAndOptions) {
  const std::string script = std::string(QX_SOURCE_DIR) + "/completions/qx.bash";
  const auto complete = [&](const std::string& words, int index) {
    const auto dir = fresh_directory("completion");
    const std::string command =
        "bash -c 'PATH=" + std::filesystem::path(QX_PROGRAM).parent_path().string() +
        ":$PATH; source " + script + "; COMP_WORDS=(" + words +
        "); COMP_CWORD=" + std::to_string(index) +
        "; _qx; printf \"%s\\n\" \"${COMPREPLY[@]}\"' > " + (dir / "out").string();
    EXPECT_EQ(std::system(command.c_str()), 0);
    std::ifstream in(dir / "out");
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_EQ(complete("qx conv", 1), "convert\n");
  EXPECT_NE(complete("qx convert --rec", 2).find("--recipe"), std::string::npos);
  EXPECT_EQ(complete("qx eval --tasks hella", 3), "hellaswag\n");
  EXPECT_EQ(complete("qx divergence --convention s", 3), "sliding\n");
  EXPECT_EQ(complete("qx eval --convention l", 3), "lm-eval\n");
  EXPECT_EQ(complete("qx bench --random qwen3-8", 3), "qwen3-8b:\n");
  EXPECT_EQ(complete("qx data fe", 2), "fetch\n");
  EXPECT_EQ(complete("qx data fetch piqa hella", 4), "hellaswag\n");
  EXPECT_EQ(complete("qx data check --js", 3), "--json\n");
}

}  // namespace
}  // namespace qx::e2e
