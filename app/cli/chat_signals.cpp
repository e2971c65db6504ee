// SPDX-License-Identifier: Apache-2.0
#include "chat_signals.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/interrupt.h"

namespace qx::cli {
namespace {

// Signals may come to any thread of the pool, so that a blocked read() would not end: a byte in this pipe
// does end poll().
int g_wake[2] = {-1, -1};
bool g_interactive = true;
volatile sig_atomic_t g_interrupted = 0, g_ended = 0, g_resized = 0, g_suspended = 0;

constexpr std::array<int, 4> kSignals = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};
std::array<struct sigaction, kSignals.size()> g_before;
struct sigaction g_suspend_before;

void on_chat_signal(int signal) {
  const int saved = errno;
  if (signal == SIGWINCH) {
    g_resized = 1;
  } else if (signal == SIGTSTP) {
    g_suspended = 1;
  } else if (signal == SIGINT && g_interactive) {
    g_interrupted = 1;
    request_interrupt();
  } else {
    if (g_ended != 0) ::_exit(130);
    g_ended = 1;
    request_interrupt();
  }
  // A full pipe wakes as well.
  [[maybe_unused]] const ssize_t written = ::write(g_wake[1], "", 1);
  errno = saved;
}

void set_handler(int signal, struct sigaction* before) {
  struct sigaction action {};
  action.sa_handler = on_chat_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  QX_CHECK(sigaction(signal, &action, before) == 0);
}

}  // namespace

ChatSignals::ChatSignals(bool interactive) {
  QX_CHECK(g_wake[0] < 0);
  if (::pipe(g_wake) != 0) fail("signals", "no pipe can be opened, expected a free descriptor");
  for (const int end : g_wake) {
    ::fcntl(end, F_SETFL, O_NONBLOCK);
    ::fcntl(end, F_SETFD, FD_CLOEXEC);
  }
  g_interactive = interactive;
  g_interrupted = 0;
  g_ended = 0;
  g_resized = 0;
  g_suspended = 0;
  for (std::size_t i = 0; i < kSignals.size(); ++i) set_handler(kSignals[i], &g_before[i]);
}

ChatSignals::~ChatSignals() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &g_before[i], nullptr);
  for (int& end : g_wake) {
    ::close(end);
    end = -1;
  }
}

bool ChatSignals::interrupted() const {
  return g_interrupted != 0;
}

bool ChatSignals::ended() const {
  return g_ended != 0;
}

void ChatSignals::forget() {
  g_interrupted = 0;
  if (g_ended == 0) clear_interrupt();
}

bool ChatSignals::take_resized() {
  const bool resized = g_resized != 0;
  g_resized = 0;
  return resized;
}

void ChatSignals::note_suspend(bool on) {
  if (on) {
    set_handler(SIGTSTP, &g_suspend_before);
  } else {
    sigaction(SIGTSTP, &g_suspend_before, nullptr);
  }
}

bool ChatSignals::take_suspend() {
  const bool suspended = g_suspended != 0;
  g_suspended = 0;
  return suspended;
}

bool ChatSignals::wait_for_input(int descriptor) const {
  std::array<pollfd, 2> polls{pollfd{descriptor, POLLIN, 0}, pollfd{g_wake[0], POLLIN, 0}};
  while (::poll(polls.data(), polls.size(), -1) < 0) {
    if (errno != EINTR) fail("stdin", "waiting for input failed");
  }
  if (polls[1].revents != 0) {
    std::array<char, 64> drained{};
    while (::read(g_wake[0], drained.data(), drained.size()) > 0) {
    }
    return false;
  }
  return true;
}

}  // namespace qx::cli
