// SPDX-License-Identifier: Apache-2.0
#include "run_qx.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>

#include "base/error.h"

namespace qx::e2e {
namespace fs = std::filesystem;
namespace {

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    std::array<int, 2> ends{};
    QX_CHECK(::pipe(ends.data()) == 0);
    read_end = ends[0];
    write_end = ends[1];
  }
};

[[noreturn]] void exec_child(const std::string& program_name,
                             const std::vector<std::string>& arguments,
                             const std::vector<std::string>& environment) {
  ::unsetenv("QX_DATA");
  for (const std::string& entry : environment) {
    const std::size_t equals = entry.find('=');
    const std::string name = entry.substr(0, equals), value = entry.substr(equals + 1);
    if (value.empty()) {
      ::unsetenv(name.c_str());
    } else {
      ::setenv(name.c_str(), value.c_str(), 1);
    }
  }
  std::vector<char*> argv{const_cast<char*>(program_name.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  ::execvp(program_name.c_str(), argv.data());
  ::_exit(127);
}

// Feeds stdin and drains both outputs at once, so that no pipe can fill up and block.
void exchange(const std::string& input, int in, int out, int err, Outcome& outcome,
              const std::function<void(const std::string&)>& heard) {
  std::signal(SIGPIPE, SIG_IGN);
  ::fcntl(in, F_SETFL, O_NONBLOCK);
  std::size_t written = 0;
  if (input.empty()) {
    ::close(in);
    in = -1;
  }
  std::array<pollfd, 3> polls{pollfd{out, POLLIN, 0}, pollfd{err, POLLIN, 0},
                              pollfd{in, POLLOUT, 0}};
  std::array<char, 65536> buffer{};
  while (polls[0].fd >= 0 || polls[1].fd >= 0) {
    ::poll(polls.data(), polls.size(), -1);
    for (std::size_t i = 0; i < 2; ++i) {
      if (polls[i].fd < 0 || polls[i].revents == 0) continue;
      const ssize_t n = ::read(polls[i].fd, buffer.data(), buffer.size());
      if (n <= 0) {
        ::close(polls[i].fd);
        polls[i].fd = -1;
      } else {
        (i == 0 ? outcome.out : outcome.err).append(buffer.data(), static_cast<std::size_t>(n));
        if (i == 0 && heard) heard(outcome.out);
      }
    }
    if (polls[2].fd >= 0 && polls[2].revents != 0) {
      const ssize_t n = ::write(polls[2].fd, input.data() + written, input.size() - written);
      if (n > 0) written += static_cast<std::size_t>(n);
      if (n < 0 || written == input.size()) {
        ::close(polls[2].fd);
        polls[2].fd = -1;
      }
    }
  }
  if (polls[2].fd >= 0) ::close(polls[2].fd);
}

class FolderOfThisProcess {
 public:
  FolderOfThisProcess() {
    std::string pattern = (fs::path(testing::TempDir()) / "qx_e2e_XXXXXX").string();
    QX_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~FolderOfThisProcess() {
    std::error_code ignored;
    if (testing::UnitTest::GetInstance()->Passed()) fs::remove_all(path_, ignored);
  }
  FolderOfThisProcess(const FolderOfThisProcess&) = delete;
  FolderOfThisProcess& operator=(const FolderOfThisProcess&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

// Another program than this build's: a wrapper that runs one of another architecture.
const char* program() {
  const char* other = std::getenv("QX_TEST_PROGRAM");
  return other != nullptr && *other != '\0' ? other : QX_PROGRAM;
}

pid_t start_qx(const std::vector<std::string>& arguments) {
  const pid_t child = ::fork();
  QX_CHECK(child >= 0);
  if (child == 0) {
    const int null = ::open("/dev/null", O_RDWR);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
    exec_child(program(), arguments, {});
  }
  return child;
}

Outcome run_qx(const std::vector<std::string>& arguments, const std::string& input,
               const std::vector<std::string>& environment, const std::function<void(int)>& started,
               const std::function<void(const std::string&)>& heard) {
  return run_program(program(), arguments, input, environment, started, heard);
}

Outcome run_program(const std::string& program_name, const std::vector<std::string>& arguments,
                    const std::string& input, const std::vector<std::string>& environment,
                    const std::function<void(int)>& started,
                    const std::function<void(const std::string&)>& heard) {
  const Pipe in, out, err;
  const pid_t child = ::fork();
  QX_CHECK(child >= 0);
  if (child == 0) {
    ::dup2(in.read_end, STDIN_FILENO);
    ::dup2(out.write_end, STDOUT_FILENO);
    ::dup2(err.write_end, STDERR_FILENO);
    for (const Pipe* p : {&in, &out, &err}) {
      ::close(p->read_end);
      ::close(p->write_end);
    }
    exec_child(program_name, arguments, environment);
  }
  if (started) started(child);
  ::close(in.read_end);
  ::close(out.write_end);
  ::close(err.write_end);
  Outcome outcome;
  exchange(input, in.write_end, out.read_end, err.read_end, outcome, heard);
  int status = 0;
  QX_CHECK(::waitpid(child, &status, 0) == child);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

Json run_json(std::vector<std::string> arguments) {
  arguments.emplace_back("--json");
  const Outcome outcome = run_qx(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return parse_json(outcome.out, "stdout of qx " + arguments.front());
}

fs::path fresh_directory(const std::string& name) {
  static const FolderOfThisProcess kFolder;
  const fs::path path = kFolder.path() / name;
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

fs::path smollm2_gguf() {
  const char* cache = std::getenv("QX_CACHE");
  const char* home = std::getenv("HOME");
  const fs::path root =
      cache != nullptr ? fs::path(cache) : fs::path(home != nullptr ? home : "") / ".cache/qx";
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(root / "smollm2", ignored)) {
    if (entry.path().extension() == ".gguf") return entry.path();
  }
  return {};
}

}  // namespace qx::e2e
