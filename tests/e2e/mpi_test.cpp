// qx eval under mpirun: the same bytes for any number of ranks, errors and lost ranks that end the job, and
// reruns that go on. Skipped where this build or this machine has no Open MPI.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <optional>
#include <thread>

#include "run_qx.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr int kKillTries = 20;

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t n = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}

class Mpi : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome version = run_qx({"--version"});
    if (version.out.find("MPI:      Open MPI") == std::string::npos) {
      GTEST_SKIP() << "this build has no Open MPI";
    }
    if (run_program("mpirun", {"--version"}).exit_code != 0) GTEST_SKIP() << "no mpirun";
    root_ = fresh_directory("mpi");
    write_tiny_model(root_ / "m", TinyModel{.layers = 2, .quantized = AffineSpec{4, 32}});
  }

  // More ranks than cores, and as root where the test is.
  static Words mpirun(int ranks) {
    Words words{"--oversubscribe"};
    if (::geteuid() == 0) words.push_back("--allow-run-as-root");
    words.insert(words.end(), {"-n", std::to_string(ranks)});
    return words;
  }
  Words eval(const std::string& runs, const Words& more = {}) const {
    Words words{"eval",       "-m",      root_ / "m", "--tasks", "all",       "-o",
                root_ / runs, "--plain", "--limit",   "12",      "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static Words on_ranks(int ranks, const Words& command) {
    Words words = mpirun(ranks);
    words.push_back(program());
    words.insert(words.end(), command.begin(), command.end());
    return words;
  }

  void expect_equal_runs(const std::string& got, const std::string& wanted) const {
    int files = 0;
    for (const auto& entry : fs::directory_iterator(root_ / wanted / "m")) {
      const std::string name = entry.path().filename();
      if (name == "run.json" || name.starts_with('.')) continue;
      ++files;
      EXPECT_TRUE(read_text(root_ / got / "m" / name) == read_text(entry.path())) << name;
    }
    EXPECT_EQ(files, 8);  // seven tasks and results.json
  }

  // The process of a rank whose launcher is `launcher`; 0: none yet.
  static pid_t rank_process(pid_t launcher, int rank) {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string status = read_text(entry.path() / "stat");
      const std::size_t end = status.rfind(')');
      if (end == std::string::npos) continue;
      if (std::stoi(status.substr(end + 4)) != launcher) continue;
      const std::string variable = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
      const std::string environment = '\0' + read_text(entry.path() / "environ");
      if (environment.find('\0' + variable + '\0') != std::string::npos) return std::stoi(name);
    }
    return 0;
  }

  // Starts mpirun, sends `signal` to a rank (to mpirun itself when negative) once an answer is on
  // the disk, and returns the exit code and what was said. Nothing where the job came to its end
  // before that, which a machine that lets this test wait may make of it.
  std::optional<Outcome> signal_after_first_answer(const std::string& runs, int rank, int signal,
                                                   const Words& launcher_options = {}) {
    const std::string log = root_ / "log";
    fs::remove_all(root_ / runs);
    Words words = on_ranks(2, eval(runs, {"--isa", "scalar"}));
    words.insert(words.begin(), launcher_options.begin(), launcher_options.end());
    const pid_t launcher = ::fork();
    if (launcher == 0) {
      const int fd = ::open(log.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
      ::dup2(fd, STDOUT_FILENO);
      ::dup2(fd, STDERR_FILENO);
      std::vector<char*> argv{const_cast<char*>("mpirun")};
      for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
      argv.push_back(nullptr);
      ::execvp("mpirun", argv.data());
      ::_exit(127);
    }
    int status = 0;
    bool sent = false, ended = false;
    while (!ended) {
      ended = ::waitpid(launcher, &status, WNOHANG) == launcher;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      std::error_code ignored;
      if (sent || fs::file_size(root_ / runs / "m/answers-arc_challenge.jsonl", ignored) + 1 < 2) {
        continue;
      }
      const pid_t target = rank < 0 ? launcher : rank_process(launcher, rank);
      sent = target != 0 && ::kill(target, signal) == 0;
    }
    if (!sent || fs::exists(root_ / runs / "m/results.json")) return {};
    return Outcome{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), "",
                   read_text(log)};
  }

  fs::path root_;
};

TEST_F(Mpi, AnyNumberOfRanksGivesTheSameBytes) {
  const Outcome one = run_qx(eval("one"));
  ASSERT_EQ(one.exit_code, 0) << one.err;
  for (const int ranks : {2, 3}) {
    const std::string runs = "ranks" + std::to_string(ranks);
    const Outcome o = run_program("mpirun", on_ranks(ranks, eval(runs)));
    EXPECT_EQ(o.exit_code, 0) << o.err;
    EXPECT_EQ(count(o.out, "data  arc_easy"), 1u) << o.out;
    expect_equal_runs(runs, "one");
    EXPECT_EQ(read_json_file(root_ / runs / "m/run.json")["ranks"], ranks);
  }
}

TEST_F(Mpi, ALostRankEndsTheJobAndARerunGoesOn) {
  ASSERT_EQ(run_qx(eval("one")).exit_code, 0);
  std::optional<Outcome> killed;
  for (int tries = 0; !killed && tries < kKillTries; ++tries) {
    killed = signal_after_first_answer("killed", 1, SIGKILL);
  }
  ASSERT_TRUE(killed);
  EXPECT_NE(killed->exit_code, 0) << killed->err;
  EXPECT_FALSE(fs::exists(root_ / "killed/m/results.json"));
  const Outcome again = run_program("mpirun", on_ranks(2, eval("killed")));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  expect_equal_runs("killed", "one");
}

TEST_F(Mpi, AnInterruptKeepsWhatIsAnsweredAndSaysHowToGoOn) {
  ASSERT_EQ(run_qx(eval("one")).exit_code, 0);
  // Open MPI kills ranks that do not end within so many seconds, by itself within one: too soon for the
  // last words on a machine that is busy enough. It waits for all of the time, always.
  std::optional<Outcome> stopped;
  bool told = false;
  for (const char* seconds : {"1", "1", "1", "5", "5", "30"}) {
    stopped = signal_after_first_answer("stopped", -1, SIGINT,
                                        {"--mca", "odls_base_sigkill_timeout", seconds});
    if (!stopped) continue;
    EXPECT_NE(stopped->exit_code, 0);
    told = stopped->err.find(" of 84 answered and kept; run the same command again to go on") !=
           std::string::npos;
    if (told) break;
  }
  ASSERT_TRUE(stopped);
  EXPECT_TRUE(told) << stopped->err;
  EXPECT_EQ(run_qx(eval("stopped")).exit_code, 0);  // with any number of ranks
  expect_equal_runs("stopped", "one");
}

TEST_F(Mpi, AnErrorOfOneRankNamesIt) {
  Words words = on_ranks(1, eval("runs"));
  Words other = eval("runs");
  other[2] = root_ / "missing";
  words.insert(words.end(), {":", "-n", "1", program()});
  words.insert(words.end(), other.begin(), other.end());
  const Outcome o = run_program("mpirun", words);
  EXPECT_EQ(o.exit_code, 1) << o.err;
  EXPECT_NE(o.err.find("qx eval: [rank 1 on "), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("missing"), std::string::npos) << o.err;
}

TEST_F(Mpi, BadCommandLinesAreToldOnce) {
  const Outcome o = run_program("mpirun", on_ranks(2, eval("runs", {"--nonsense"})));
  EXPECT_EQ(o.exit_code, 2) << o.err;
  EXPECT_EQ(count(o.err, "--nonsense"), 1u) << o.err;
  const Outcome folder = run_program("mpirun", on_ranks(2, eval("runs", {"--resume"})));
  EXPECT_EQ(folder.exit_code, 1) << folder.err;
  EXPECT_EQ(count(folder.err, "holds no run to resume"), 1u) << folder.err;
}

TEST_F(Mpi, OtherVerbsRefuseAndTheVersionIsPrintedOnce) {
  const Outcome o = run_program("mpirun", on_ranks(2, {"inspect", root_ / "m"}));
  EXPECT_EQ(o.exit_code, 2) << o.err;
  EXPECT_EQ(count(o.err, "runs as one process"), 1u) << o.err;
  EXPECT_EQ(o.out, "");
  const Outcome version = run_program("mpirun", on_ranks(2, {"--version"}));
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(count(version.out, "compiler:"), 1u) << version.out;
}

// A Python program that initialized MPI for itself (importing mlx may do that) starts qx.
TEST(Launchers, AParentWithMpiIsNoLauncher) {
  const Outcome o = run_qx({"--version"}, "", {"PMIX_RANK=0", "OMPI_MCA_ess=singleton"});
  EXPECT_EQ(o.exit_code, 0) << o.err;
  const Outcome verb = run_qx({"inspect", "nowhere"}, "", {"PMIX_RANK=0", "PMIX_NAMESPACE=1"});
  EXPECT_EQ(verb.exit_code, 1) << verb.err;
}

TEST(Launchers, WithoutMpiManyProcessesAreRefused) {
  // The variables of a launcher that this program's MPI knows nothing of.
  const Outcome other = run_qx({"inspect", "nowhere"}, "", {"PMI_RANK=0", "PMI_SIZE=2"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_NE(other.err.find("runs as one process"), std::string::npos) << other.err;
  if (run_qx({"--version"}).out.find("MPI:      not built in") == std::string::npos) return;
  const Outcome o = run_qx({"eval", "-m", ".", "--tasks", "all", "-o", "nowhere"}, "",
                           {"PMI_RANK=0", "PMI_SIZE=2"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("built without MPI"), std::string::npos) << o.err;
}

}  // namespace
}  // namespace qx::e2e
