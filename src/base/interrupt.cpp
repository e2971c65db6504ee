// SPDX-License-Identifier: Apache-2.0
#include "base/interrupt.h"

#include <signal.h>
#include <unistd.h>

namespace qx {
namespace {

volatile sig_atomic_t g_requested = 0;

void on_signal(int) {
  if (g_requested != 0) ::_exit(130);
  g_requested = 1;
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupt_requested() {
  return g_requested != 0;
}

void request_interrupt() {
  g_requested = 1;
}

void clear_interrupt() {
  g_requested = 0;
}

void check_interrupt() {
  if (interrupt_requested()) throw Interrupted{};
}

}  // namespace qx
