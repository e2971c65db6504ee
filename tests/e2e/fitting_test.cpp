// qx calibrate and qx convert --fit as a user runs them, on a tiny random model.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/hash.h"
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
    std::ofstream(root_ / "text.txt", std::ios::binary) << tiny_text(400);
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
  std::vector<std::string> calibrate_other() const {
    std::vector<std::string> out = calibrate("other");
    out.insert(out.end(), {"--keep-seconds", "0", "--resume"});
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
    const std::vector<std::string> verify = {"verify", root_ / fit, "--source", root_ / "base"};
    const Outcome alone = run_qx(verify);
    EXPECT_EQ(alone.exit_code, 1);
    EXPECT_NE(alone.err.find("fitted codes (" + fit), std::string::npos) << alone.err;
    std::vector<std::string> with = verify;
    with.insert(with.end(), {"--calibration", root_ / "cal"});
    const Json exact = run_json(with);
    EXPECT_EQ(exact["exact"], true);
    EXPECT_EQ(exact["fit"], fit);
  }
}

std::string content(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A machine that lets this test wait while the program goes on makes the second or third of it:
// then the test tries again.
enum class Kill { kInTime, kEndedBefore, kBehindItsLastStep };
constexpr int kTries = 100;

// Starts the program and kills it as soon as the condition holds.
template <typename Condition>
Kill kill_when(const std::vector<std::string>& command, const fs::path& target,
               const Condition& condition) {
  const pid_t child = start_qx(command);
  int status = 0;
  while (true) {
    if (::waitpid(child, &status, WNOHANG) == child) {
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
      return Kill::kEndedBefore;
    }
    if (condition()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  if (!WIFSIGNALED(status)) return Kill::kEndedBefore;
  return fs::exists(target) ? Kill::kBehindItsLastStep : Kill::kInTime;
}

class KilledCalibration : public Fitting, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Fitting, KilledCalibration, testing::Values("equal", "gradient"),
                         [](const auto& test) { return std::string(test.param); });

// Killed again and again, in different passes, it ends in the bytes of a run that was left alone.
TEST_P(KilledCalibration, GoesOn) {
  fs::remove_all(root_ / "base");
  write_tiny_model(root_ / "base", {.family = "llama", .tied = true, .layers = 6, .context = 128});
  std::vector<std::string> whole = calibrate("whole"), parts = calibrate("parts");
  for (auto* command : {&whole, &parts})
    command->insert(command->end(), {"--memory", "1", "--token-weights", GetParam()});
  EXPECT_GT(run_json(whole)["passes"], 2);
  parts.insert(parts.end(), {"--keep-seconds", "0", "--resume"});
  const fs::path state = root_ / ".parts.qx-state";
  int kills = 0;
  std::string before;
  for (int tries = 0; kills < 12 && tries < kTries; ++tries) {
    const auto moved_on = [&] {
      std::ifstream in(state, std::ios::binary);
      std::string line;
      if (!std::getline(in, line)) return false;
      return line.substr(0, line.find("samples")) != before;
    };
    const Kill kill = kill_when(parts, root_ / "parts", moved_on);
    if (kill == Kill::kEndedBefore && kills >= 2) break;
    if (kill != Kill::kInTime) {
      EXPECT_EQ(content(root_ / "parts"), content(root_ / "whole"));
      fs::remove(root_ / "parts");
      fs::remove(state);
      before.clear();
      kills = 0;
      continue;
    }
    ++kills;
    std::ifstream in(state, std::ios::binary);
    std::string line;
    std::getline(in, line);
    before = line.substr(0, line.find("samples"));
  }
  EXPECT_GE(kills, 2);
  if (!fs::exists(root_ / "parts")) {
    const Json rest = run_json(parts);
    EXPECT_GT(rest["resumed_windows"], 0);
  }
  EXPECT_EQ(content(root_ / "parts"), content(root_ / "whole"));
  for (const auto& entry : fs::directory_iterator(root_)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".parts")) << entry.path();
  }
  // Another text starts over, and says why.
  Kill kill = Kill::kEndedBefore;
  for (int tries = 0; kill != Kill::kInTime && tries < kTries; ++tries) {
    fs::remove(root_ / "other");
    kill = kill_when(calibrate_other(), root_ / "other",
                     [&] { return fs::exists(root_ / ".other.qx-state"); });
  }
  EXPECT_EQ(kill, Kill::kInTime);
  std::ofstream(root_ / "text.txt", std::ios::app) << " more";
  const Outcome other = run_qx(calibrate_other());
  EXPECT_EQ(other.exit_code, 0);
  EXPECT_NE(other.err.find("its request differs"), std::string::npos) << other.err;
}

TEST_F(Fitting, AResumeThatFailsKeepsWhatWasKept) {
  // Many windows, and the sums of each are kept: there is time to kill it between the first and the last.
  std::vector<std::string> command = {
      "calibrate", "-m", root_ / "base", "--text", root_ / "text.txt", "-o", root_ / "other",
      "--ctx",     "8",  "--windows",    "60",     "--keep-seconds",   "0",  "--resume"};
  const fs::path state = root_ / ".other.qx-state";
  const auto has_windows = [&] {
    std::ifstream in(state, std::ios::binary);
    std::string line;  // and not the sums behind it, which are long
    std::getline(in, line);
    const Json kept = Json::parse(line, nullptr, false);
    return kept.is_object() && kept.value("windows", 0) > 0;
  };
  Kill kill = Kill::kEndedBefore;
  for (int tries = 0; kill != Kill::kInTime && tries < kTries; ++tries) {
    fs::remove(root_ / "other");
    kill = kill_when(command, root_ / "other", has_windows);
  }
  ASSERT_EQ(kill, Kill::kInTime);
  const std::string kept = content(state);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Outcome full = run_qx(command);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_NE(full.err.find("file size limit"), std::string::npos) << full.err;
  EXPECT_EQ(content(state), kept);
  EXPECT_GT(run_json(command)["resumed_windows"], 0);
}

TEST_F(Fitting, AKilledFitGoesOn) {
  ASSERT_EQ(run_qx(calibrate("cal")).exit_code, 0);
  const std::vector<std::string> fit = {"--fit", "gptq", "--calibration", root_ / "cal"};
  ASSERT_EQ(run_qx(convert("whole", fit)).exit_code, 0);
  std::vector<std::string> resume = fit;
  resume.emplace_back("--resume");
  const auto lines = [&] {
    const std::string journal = content(root_ / ".parts.qx-partial/qx_journal.jsonl");
    return std::count(journal.begin(), journal.end(), '\n');
  };
  std::int64_t before = 1;
  int kills = 0;
  for (int tries = 0; kills < 10 && tries < kTries; ++tries) {
    const Kill kill =
        kill_when(convert("parts", resume), root_ / "parts", [&] { return lines() > before + 2; });
    if (kill == Kill::kEndedBefore && kills >= 1) break;
    if (kill != Kill::kInTime) {
      fs::remove_all(root_ / "parts");
      before = 1;
      kills = 0;
      continue;
    }
    before = lines();
    ++kills;
  }
  EXPECT_GE(kills, 1);
  if (!fs::exists(root_ / "parts")) {
    EXPECT_GT(run_json(convert("parts", resume))["resumed_tensors"], 0);
  }
  for (const std::string file : {"model.safetensors", "config.json", "qx_plan.json"}) {
    EXPECT_EQ(content(root_ / "parts" / file), content(root_ / "whole" / file)) << file;
  }
}

TEST_F(Fitting, OwnSamplesAndOverlaps) {
  std::vector<std::string> own = {"calibrate", "-m", root_ / "base", "-o", root_ / "a",
                                  "--ctx",     "32", "--windows",    "5"};
  const Json a = run_json(own);
  EXPECT_EQ(a["tokens"], 160);
  EXPECT_EQ(a["text"]["own_samples"]["seed"], 1);
  own[4] = root_ / "b";
  own.insert(own.end(), {"--threads", "3"});
  run_json(own);
  EXPECT_EQ(content(root_ / "a"), content(root_ / "b"));
  own[4] = root_ / "c";
  own.insert(own.end(), {"--seed", "2"});
  EXPECT_NE(run_json(own)["text"]["used_sha256"], a["text"]["used_sha256"]);

  // Windows of 13 words and more.
  std::vector<std::string> longer = calibrate("cal");
  *std::find(longer.begin(), longer.end(), "64") = "128";
  EXPECT_GT(run_json(longer)["ngrams"]["kept"], 10);
  ASSERT_EQ(run_qx(convert("q3", {"--fit", "mse", "--calibration", root_ / "cal"})).exit_code, 0);
  const std::vector<std::string> divergence = {
      "divergence",       "-m",    root_ / "q3", "--base",        root_ / "base", "--text",
      root_ / "text.txt", "--ctx", "128",        "--calibration", root_ / "cal"};
  const Json d = run_json(divergence);
  EXPECT_GT(d["calibration_overlap"]["shared"], 10);
  std::vector<std::string> wrong = divergence;
  wrong.back() = root_ / "a";
  EXPECT_NE(run_qx(wrong).err.find("expected that of q3"), std::string::npos);
}

TEST_F(Fitting, DistillIsGptqWithTrainedScales) {
  ASSERT_EQ(run_qx(calibrate("cal")).exit_code, 0);
  const std::vector<std::string> calibration = {"--calibration", root_ / "cal", "--fit"};
  std::vector<std::string> gptq = calibration, distill = calibration;
  gptq.push_back("gptq");
  distill.insert(distill.end(), {"distill", "--steps", "20", "--rate", "0.02"});
  ASSERT_EQ(run_qx(convert("gptq", gptq)).exit_code, 0);
  const Json made = run_json(convert("d", distill));
  EXPECT_EQ(made["fit"], "distill");
  const Json& record = made["distilled"];
  EXPECT_LT(record["validation_kl"][1], record["validation_kl"][0]);
  EXPECT_EQ(record["start"]["method"], "gptq");
  EXPECT_EQ(fs::file_size(root_ / "d/model.safetensors"),
            fs::file_size(root_ / "gptq/model.safetensors"));
  // The same in two commands.
  ASSERT_EQ(run_qx({"distill", "-m", root_ / "gptq", "--base", root_ / "base", "--calibration",
                    root_ / "cal", "-o", root_ / "two", "--steps", "20", "--rate", "0.02"})
                .exit_code,
            0);
  EXPECT_EQ(sha256_file(root_ / "d/model.safetensors"),
            sha256_file(root_ / "two/model.safetensors"));
  const Outcome said = run_qx(convert("d", distill));
  EXPECT_EQ(said.exit_code, 1) << said.out;  // it is there
  distill.push_back("--force");
  const Outcome again = run_qx(convert("d", distill));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_NE(again.out.find("20 distilling steps over 7 windows"), std::string::npos) << again.out;
}

// What --force replaces is an earlier result, never what the new one is made from or lies beside.
TEST_F(Fitting, ForceDeletesNeitherInputsNorOtherThings) {
  fs::create_directory(root_ / "t");
  std::ofstream(root_ / "t/config.json") << "{}";
  ASSERT_EQ(run_qx(calibrate("t/cal")).exit_code, 0);
  ASSERT_EQ(run_qx(convert("q", {})).exit_code, 0);
  fs::create_directory(root_ / "other");
  std::ofstream(root_ / "other/precious.txt") << "x";
  fs::copy_file(root_ / "base/config.json", root_ / "config.json");
  std::ofstream(root_ / "t/r.json") << "{}";
  const auto refused = [&](std::vector<std::string> command, const std::string& text) {
    command.push_back("--force");
    const Outcome o = run_qx(command);
    EXPECT_EQ(o.exit_code, 1) << o.err;
    EXPECT_NE(o.err.find(text), std::string::npos) << o.err;
    for (const char* name : {"base/model.safetensors", "other/precious.txt", "t/cal", "t/r.json",
                             "q/model.safetensors", "text.txt"}) {
      EXPECT_TRUE(fs::exists(root_ / name)) << name;
    }
  };
  const fs::path base = root_ / "base", q = root_ / "q", cal = root_ / "t/cal";
  refused(convert("base", {}), "made from");
  refused(convert("", {}), "made from");
  refused(convert("other", {}), "config.json");
  refused(convert("t", {"--fit", "gptq", "--calibration", cal}), "made from");
  refused({"convert", "-m", base, "-o", root_ / "t", "--recipe", root_ / "t/r.json"}, "made from");
  refused({"convert", "-m", base, "-o", q, "--like", q}, "made from");
  for (const fs::path& target : {base, q}) {
    refused({"distill", "-m", q, "--base", base, "--calibration", cal, "-o", target}, "made from");
  }
}

// A --resume that fails keeps what the earlier attempt had finished.
TEST_F(Fitting, AResumeWithAMistakeKeepsTheWork) {
  ASSERT_EQ(run_qx(calibrate("cal")).exit_code, 0);
  const auto resumed = [&](const char* fit, const char* calibration) {
    return convert("x", {"--fit", fit, "--calibration", root_ / calibration, "--resume"});
  };
  // Killed in its middle: the journal notes tensors, and the files hold them.
  const std::vector<std::string> fit = resumed("gptq", "cal");
  const fs::path partial = root_ / ".x.qx-partial";
  const auto some = [&] {
    std::ifstream in(partial / "qx_journal.jsonl", std::ios::binary);
    return std::count(std::istreambuf_iterator<char>(in), {}, '\n') > 3;
  };
  Kill kill = Kill::kEndedBefore;
  for (int tries = 0; kill != Kill::kInTime && tries < kTries; ++tries) {
    fs::remove_all(root_ / "x");
    kill = kill_when(fit, root_ / "x", some);
  }
  ASSERT_EQ(kill, Kill::kInTime);
  EXPECT_EQ(run_qx(resumed("gptq", "typo")).exit_code, 1);
  ASSERT_TRUE(fs::exists(partial / "qx_journal.jsonl"));
  EXPECT_GT(run_json(fit)["resumed_tensors"], 0);
  EXPECT_FALSE(fs::exists(partial));
}

TEST_F(Fitting, WrongCommandLinesAndFiles) {
  const auto expect = [](const Outcome& o, int code, const std::string& text) {
    EXPECT_EQ(o.exit_code, code) << o.err;
    EXPECT_NE(o.err.find(text), std::string::npos) << o.err;
  };
  expect(run_qx(convert("x", {"--fit", "mse"})), 2, "needs --calibration");
  expect(run_qx(convert("x", {"--fit", "distill"})), 2, "needs --calibration");
  expect(run_qx(convert("x", {"--calibration", root_ / "cal"})), 2, "goes with --fit");
  expect(run_qx(convert("x", {"--fit", "gptq", "--calibration", root_ / "none"})), 1, "none");
  expect(run_qx(convert("x", {"--fit", "gptq", "--calibration", root_ / "text.txt"})), 1,
         "text.txt");
  expect(run_qx(convert("x", {"--fit", "mse", "--calibration", root_ / "c", "--rounding", "gpu"})),
         2, "--rounding");
  ASSERT_EQ(run_qx(calibrate("cal")).exit_code, 0);
  // What another fit would use is not taken and ignored.
  const std::vector<std::string> options[] = {{"--damping", "0.5"}, {"--fit-memory", "9"}};
  for (const std::vector<std::string>& option : options) {
    const std::string text = option[0] + " goes with --fit gptq or distill, got m";
    expect(run_qx(convert("x", option)), 2, text + "inmax");
    std::vector<std::string> mse = {"--fit", "mse", "--calibration", root_ / "cal"};
    mse.insert(mse.end(), option.begin(), option.end());
    expect(run_qx(convert("x", mse)), 2, text + "se");
  }
  for (const char* option : {"--steps", "--rate", "--seed"}) {
    const std::string value = option == std::string("--rate") ? "0.5" : "9";
    expect(run_qx(convert("x", {option, value})), 2, "go with --fit distill, got minmax");
    expect(run_qx(convert("x", {"--fit", "gptq", "--calibration", root_ / "cal", option, value})),
           2, "go with --fit distill, got gptq");
  }
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
