// SPDX-License-Identifier: Apache-2.0
#include "pty_qx.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "base/error.h"
#include "run_qx.h"

namespace qx::e2e {
namespace {

[[noreturn]] void exec_on_terminal(const std::string& name,
                                   const std::vector<std::string>& arguments,
                                   const std::vector<std::string>& environment) {
  ::setsid();
  const int terminal = ::open(name.c_str(), O_RDWR);
  winsize size{};
  size.ws_row = 24;
  size.ws_col = 80;
  ::ioctl(terminal, TIOCSCTTY, 0);
  ::ioctl(terminal, TIOCSWINSZ, &size);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(terminal, fd);
  if (terminal > STDERR_FILENO) ::close(terminal);
  ::setenv("TERM", "xterm", 1);
  ::unsetenv("NO_COLOR");
  for (const std::string& entry : environment) {
    const std::size_t equals = entry.find('=');
    ::setenv(entry.substr(0, equals).c_str(), entry.substr(equals + 1).c_str(), 1);
  }
  std::vector<char*> argv{const_cast<char*>(program())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  ::execvp(program(), argv.data());
  ::_exit(127);
}

}  // namespace

PtyQx::PtyQx(const std::vector<std::string>& arguments,
             const std::vector<std::string>& environment) {
  terminal_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  QX_CHECK(terminal_ >= 0 && ::grantpt(terminal_) == 0 && ::unlockpt(terminal_) == 0);
  const std::string name = ::ptsname(terminal_);
  process_ = ::fork();
  QX_CHECK(process_ >= 0);
  if (process_ == 0) exec_on_terminal(name, arguments, environment);
}

PtyQx::~PtyQx() {
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  ::close(terminal_);
}

void PtyQx::type(std::string_view keys) {
  QX_CHECK(::write(terminal_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size()));
}

bool PtyQx::read_more() {
  pollfd poll_terminal{terminal_, POLLIN, 0};
  if (::poll(&poll_terminal, 1, 300'000) <= 0) return false;
  std::array<char, 4096> bytes{};
  const ssize_t count = ::read(terminal_, bytes.data(), bytes.size());
  if (count <= 0) return false;  // EIO once the program has closed its side
  seen_.append(bytes.data(), static_cast<std::size_t>(count));
  return true;
}

std::string PtyQx::wait_for(std::string_view text) {
  std::size_t found = 0;
  while ((found = seen_.find(text, waited_)) == std::string::npos) {
    if (!read_more()) {
      ADD_FAILURE() << "waited in vain for '" << text << "'; seen:\n" << seen_;
      return seen_.substr(waited_);
    }
  }
  const std::string out = seen_.substr(waited_, found + text.size() - waited_);
  waited_ = found + text.size();
  return out;
}

int PtyQx::finish() {
  while (read_more()) {
  }
  int status = 0;
  for (int tenths = 0; ::waitpid(process_, &status, WNOHANG) == 0; ++tenths) {
    if (tenths == 3000) {
      ADD_FAILURE() << "did not end; seen:\n" << seen_;
      ::kill(process_, SIGKILL);
    }
    ::usleep(100'000);
  }
  process_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace qx::e2e
