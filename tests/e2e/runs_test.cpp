// Runs that are interrupted, continued, split and joined end in the same bytes as one that was left alone.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#include <sys/mount.h>
#endif

#include "base/random.h"
#include "run_qx.h"
#include "support/file_size_limit.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

// run.json without its two times.
std::string without_times(const std::string& run_json) {
  std::istringstream lines(run_json);
  std::string text, line;
  while (std::getline(lines, line)) {
    if (!line.starts_with("  \"start\": ") && !line.starts_with("  \"end\": \""))
      text += line + '\n';
  }
  return text;
}

// Name to content of every file of a run folder, hidden ones included, but for times.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string text = read_text(entry.path());
    files[name] = name == "run.json" ? without_times(text) : text;
  }
  return files;
}

void expect_same_run(const fs::path& a, const fs::path& b, const std::string& when) {
  const auto left = contents(a), right = contents(b);
  std::set<std::string> names;
  for (const auto& [name, text] : left) names.insert(name);
  for (const auto& [name, text] : right) names.insert(name);
  for (const std::string& name : names) {
    ASSERT_TRUE(left.contains(name) && right.contains(name)) << name << " " << when;
    ASSERT_EQ(left.at(name), right.at(name)) << name << " " << when;
  }
}

class Runs : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = fresh_directory("runs");
    write_tiny_model(root_ / "m", TinyModel{.layers = 2});
    fs::create_directories(root_ / "data");
    Random random(1);
    std::ofstream piqa(root_ / "data/piqa.jsonl"), boolq(root_ / "data/boolq.jsonl");
    for (int i = 0; i < kRows; ++i) {
      const std::string words(20 + random.below(120), static_cast<char>('a' + i % 26));
      piqa << Json{{"goal", words},
                   {"sol1", "so " + std::to_string(i)},
                   {"sol2", "or so"},
                   {"label", random.below(2)}}
                  .dump()
           << '\n';
      boolq << Json{{"passage", words},
                    {"question", "is it " + std::to_string(i)},
                    {"label", random.below(2)}}
                   .dump()
            << '\n';
    }
  }
  static void TearDownTestSuite() { fs::remove_all(root_); }

  // The folder of the run is RUNS/m.
  static std::vector<std::string> command(const std::string& runs,
                                          const std::vector<std::string>& more,
                                          const std::string& tasks = "piqa,boolq") {
    std::vector<std::string> c{"eval",         "-m",         root_ / "m", "--data",
                               root_ / "data", "--plain",    "--tasks",   tasks,
                               "-o",           root_ / runs, "--threads", "2"};
    c.insert(c.end(), more.begin(), more.end());
    return c;
  }
  static fs::path evaluate(const std::string& runs, const std::vector<std::string>& more,
                           const std::string& tasks = "piqa,boolq") {
    const Outcome o = run_qx(command(runs, more, tasks));
    EXPECT_EQ(o.exit_code, 0) << o.err;
    return root_ / runs / "m";
  }
  static constexpr int kRows = 240;
  static inline fs::path root_;
};

// Kills the program after that time. Whether it was still running then; else it must have ended well.
bool kill_after(const std::vector<std::string>& command, std::chrono::microseconds time) {
  const pid_t child = start_qx(command);
  std::this_thread::sleep_for(time);
  ::kill(child, SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  const bool killed = WIFSIGNALED(status);
  EXPECT_TRUE(killed || WEXITSTATUS(status) == 0) << status;
  return killed;
}

TEST_F(Runs, KilledAtFiftyRandomMomentsItEndsInTheSameBytes) {
  const auto begin = std::chrono::steady_clock::now();
  const fs::path whole = evaluate("whole", {"--write-prompts"});
  const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - begin;
  const fs::path folder = root_ / "killed/m";
  Random random(20);
  int kills = 0, ends = 0;
  while (kills < 50) {
    // Every third one early: while it starts, or ends when most is answered already.
    const double part = random.below(3) == 0 ? 0.2 : 1.0;
    const std::chrono::microseconds time(
        static_cast<std::int64_t>(taken.count() * part * random.uniform()));
    if (kill_after(command("killed", {"--write-prompts"}), time)) {
      ++kills;
      continue;
    }
    ++ends;
    ASSERT_NO_FATAL_FAILURE(
        expect_same_run(whole, folder, "after " + std::to_string(kills) + " kills"));
    fs::remove_all(root_ / "killed");
  }
  evaluate("killed", {"--write-prompts"});
  expect_same_run(whole, folder, "at the end");
  RecordProperty("ends", ends);
}

TEST_F(Runs, ADiskThatFillsIsAnErrorAndNothingIsLost) {
  const fs::path whole = evaluate("whole_disk", {});
  const auto size = static_cast<std::uint64_t>(fs::file_size(whole / "answers-piqa.jsonl"));
  Random random(4);
  std::vector<std::uint64_t> limits;
  for (int i = 0; i < 12; ++i) limits.push_back(random.below(size));
  limits.push_back(size - 1);
  std::sort(limits.begin(), limits.end());
  const fs::path log = root_ / "full/m/answers-piqa.jsonl";
  std::string before;
  for (const std::uint64_t limit : limits) {
    const Outcome o = [&] {
      const FileSizeLimit small(limit);
      return run_qx(command("full", {}));
    }();
    EXPECT_EQ(o.exit_code, 1) << limit << o.err;
    EXPECT_NE(o.err.find("over the file size limit"), std::string::npos) << limit << o.err;
    EXPECT_NE(o.err.find("full/m/"), std::string::npos) << limit << o.err;
    const std::string now = fs::exists(log) ? read_text(log) : "";
    EXPECT_TRUE(now.starts_with(before)) << limit;  // what was answered stays
    EXPECT_TRUE(now.empty() || now.back() == '\n') << limit;
    before = now;
  }
  EXPECT_GT(before.size(), size / 2);
  evaluate("full", {});
  expect_same_run(whole, root_ / "full/m", "after a full disk");
}

#if defined(__linux__)
// A small file system in memory, in a mount namespace of a child process. Exit code 77: not allowed here.
int on_a_small_disk(const fs::path& mount_point, const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    const int spaces = CLONE_NEWNS | (::geteuid() == 0 ? 0 : CLONE_NEWUSER);
    if (::unshare(spaces) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", mount_point.c_str(), "tmpfs", 0, "size=24k") != 0) {
      ::_exit(77);
    }
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

TEST_F(Runs, AFullFileSystemIsAnErrorAndNothingIsLost) {
  if (std::getenv("QX_TEST_PROGRAM") != nullptr) GTEST_SKIP() << "needs the machine's own program";
  const fs::path whole = evaluate("whole_small", {}), disk = root_ / "disk";
  fs::create_directories(disk);
  const int code = on_a_small_disk(disk, [&] {
    const Outcome full = run_qx(command("disk", {}));
    if (full.exit_code != 1 || full.err.find("the disk is full") == std::string::npos) {
      std::fprintf(stderr, "exit %d: %s\n", full.exit_code, full.err.c_str());
      return false;
    }
    const std::string before = read_text(disk / "m/answers-piqa.jsonl");
    if (before.empty() || before.back() != '\n') return false;
    if (::mount("none", disk.c_str(), "tmpfs", MS_REMOUNT, "size=8m") != 0) return false;
    if (run_qx(command("disk", {})).exit_code != 0) return false;
    fs::copy(disk / "m", root_ / "copy", fs::copy_options::recursive);
    return true;
  });
  if (code == 77) GTEST_SKIP() << "no file system can be mounted here";
  ASSERT_EQ(code, 0);
  expect_same_run(whole, root_ / "copy", "after a full file system");
}
#endif

TEST_F(Runs, GrownStepByStepTheyEqualARunMadeAtOnce) {
  const std::vector<std::string> large = {"--sample", "30", "--seed", "5"};
  const fs::path whole = evaluate("sample", large);
  evaluate("sample_grown", {"--sample", "11", "--seed", "5"}, "piqa");
  evaluate("sample_grown", {"--sample", "12", "--seed", "5"}, "piqa");
  evaluate("sample_grown", large, "piqa");
  evaluate("sample_grown", large, "boolq");
  expect_same_run(whole, root_ / "sample_grown/m", "grown");
  const Outcome other = run_qx(command("sample_grown", {"--sample", "30", "--seed", "6"}));
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.err.find("seed: this command has 6, the folder has 5"), std::string::npos)
      << other.err;
  EXPECT_EQ(run_qx(command("sample_grown", {"--limit", "30"})).exit_code, 1);
  expect_same_run(whole, root_ / "sample_grown/m", "after refusals");
}

// A larger --limit is stopped, and a command about another task ends well: the run is not finished.
TEST_F(Runs, AStoppedTaskKeepsTheRunOpenWhenAnotherOneEnds) {
  evaluate("open", {"--limit", "2"}, "piqa");
  const fs::path folder = evaluate("open", {"--limit", "60"}, "piqa");
  const fs::path results = folder / "results.json";
  // As an interrupt leaves it: the log so far, and no end.
  std::istringstream lines(read_text(folder / "answers-piqa.jsonl"));
  std::string log, line;
  for (int i = 0; i < 23 && std::getline(lines, line); ++i) log += line + '\n';
  std::ofstream(folder / "answers-piqa.jsonl") << log;
  Json run = Json::parse(read_text(folder / "run.json"));
  run["end"] = nullptr;
  std::ofstream(folder / "run.json") << run.dump(2) << '\n';
  evaluate("open", {"--limit", "2"}, "boolq");
  EXPECT_TRUE(Json::parse(read_text(folder / "run.json")).at("end").is_null());
  const Json scores = Json::parse(read_text(results)).at("results");
  EXPECT_TRUE(scores.contains("boolq"));
  EXPECT_FALSE(scores.contains("piqa"));
  EXPECT_EQ(run_json({"runs", folder}).at("runs").at(0).at("state"), "interrupted");
  const Outcome exported = run_qx({"export-run", folder, "-o", root_ / "exported"});
  EXPECT_EQ(exported.exit_code, 1);
  EXPECT_NE(exported.err.find("is not finished"), std::string::npos) << exported.err;
  evaluate("open", {"--limit", "60"}, "piqa");
  EXPECT_EQ(run_json({"runs", folder}).at("runs").at(0).at("state"), "finished");
  const fs::path whole = evaluate("at_once", {"--limit", "60"}, "piqa");
  EXPECT_EQ(read_text(folder / "answers-piqa.jsonl"), read_text(whole / "answers-piqa.jsonl"));
  EXPECT_EQ(Json::parse(read_text(results)).at("results").at("piqa"),
            Json::parse(read_text(whole / "results.json")).at("results").at("piqa"));
}

TEST_F(Runs, ShardsJoinToTheUnshardedRun) {
  const std::vector<std::vector<std::string>> selections = {{"--limit", "20", "--offset", "3"},
                                                            {"--sample", "20", "--seed", "2"}};
  for (std::size_t s = 0; s < selections.size(); ++s) {
    const std::string tag = std::to_string(s);
    const fs::path whole = evaluate("unsharded" + tag, selections[s]);
    std::vector<std::string> merge{"merge-runs"};
    for (int i = 1; i <= 3; ++i) {
      std::vector<std::string> more = selections[s];
      more.insert(more.end(), {"--shard", std::to_string(i) + "/3"});
      merge.push_back(evaluate("shard" + tag + std::to_string(i), more));
    }
    merge.insert(merge.end(), {"-o", root_ / ("joined" + tag) / "m"});
    const Outcome joined = run_qx(merge);
    ASSERT_EQ(joined.exit_code, 0) << joined.err;
    expect_same_run(whole, root_ / ("joined" + tag) / "m", "joined");
    // Without one shard, and gone on with.
    merge.erase(merge.begin() + 2);
    merge.back() = root_ / ("part" + tag) / "m";
    const Outcome refused = run_qx(merge);
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_NE(refused.err.find("shard 2/3"), std::string::npos) << refused.err;
    merge.emplace_back("--partial");
    EXPECT_EQ(run_qx(merge).exit_code, 0);
    evaluate("part" + tag, selections[s]);
    expect_same_run(whole, root_ / ("part" + tag) / "m", "continued");
  }
  const Json list = run_json({"runs", root_});
  EXPECT_EQ(list.at("shards").size(), 2u);
  EXPECT_TRUE(list.at("broken").empty());
}

TEST_F(Runs, AShardWithoutItemsIsARun) {
  const fs::path folder = evaluate("tiny_shard", {"--limit", "2", "--shard", "3/4"});
  EXPECT_EQ(read_text(folder / "answers-piqa.jsonl"), "");
  EXPECT_EQ(run_json({"runs", folder}).at("runs").at(0).at("state"), "finished");
}

TEST_F(Runs, ListsOfIndicesChooseTheItems) {
  std::ofstream(root_ / "list") << "7\n3\n";
  const fs::path folder = evaluate("listed", {"--indices", root_ / "list"}, "piqa");
  const std::string text = read_text(folder / "answers-piqa.jsonl");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_NE(text.find("\"index\":3,"), std::string::npos);
  // An answer log is a list as well.
  fs::copy_file(folder / "answers-piqa.jsonl", root_ / "log");
  evaluate("again", {"--indices", root_ / "log"}, "piqa");
  EXPECT_EQ(read_text(root_ / "again/m/answers-piqa.jsonl"), text);
  std::ofstream(root_ / "list") << "7\n" << kRows << "\n";
  const Outcome o = run_qx(command("past", {"--indices", root_ / "list"}, "piqa"));
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("list:2] got row 240"), std::string::npos) << o.err;
  EXPECT_FALSE(fs::exists(root_ / "past"));
}

TEST_F(Runs, OptionsThatExcludeEachOtherAreUsageErrors) {
  std::ofstream(root_ / "l") << "1\n";
  const std::string list = root_ / "l";
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"--sample", "3", "--limit", "3"},
                                             {"--indices", list, "--limit", "3"},
                                             {"--indices", list, "--offset", "3"},
                                             {"--indices", list, "--sample", "3"},
                                             {"--seed", "3"},
                                             {"--sample", "0"},
                                             {"--limit", "-1"},
                                             {"--shard", "3/2"},
                                             {"--shard", "x"},
                                             {"--resume", "--force"}}) {
    EXPECT_EQ(run_qx(command("usage", more)).exit_code, 2) << more[0] << more.back();
  }
  EXPECT_FALSE(fs::exists(root_ / "usage"));
}

TEST_F(Runs, TheSecondProcessIsToldAndStops) {
  const fs::path folder = evaluate("locked", {"--limit", "2"});
  const std::string before = read_text(folder / "run.json");
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(::flock(fd, LOCK_EX | LOCK_NB), 0);
  const Outcome o = run_qx(command("locked", {"--limit", "3"}));
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("another qx eval writes here"), std::string::npos) << o.err;
  EXPECT_EQ(run_json({"runs", root_ / "locked"}).at("runs").at(0).at("state"), "running");
  ::close(fd);
  EXPECT_EQ(read_text(folder / "run.json"), before);
}

TEST_F(Runs, ComparingOtherItemsIsRefusedOrSaid) {
  fs::rename(evaluate("few", {"--limit", "5"}), root_ / "five");
  fs::rename(evaluate("more", {"--limit", "8"}), root_ / "eight");
  const Outcome refused = run_qx({"compare", root_ / "five", root_ / "eight"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("piqa: five 5, eight 8; 5 in common"), std::string::npos)
      << refused.err;
  const Json common = run_json({"compare", root_ / "five", root_ / "eight", "--intersect"});
  EXPECT_EQ(common.at("tasks").at(0).at("n"), 5);
  EXPECT_NE(common.at("notes").dump().find("only the 5 items"), std::string::npos);
}

}  // namespace
}  // namespace qx::e2e
