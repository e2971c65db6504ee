// Ctrl-C and SIGTERM: the first one asks the work at hand to stop at its next safe point, a second
// one ends the process at once. Exit code 130 either way.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace qx {

// Thrown by check_interrupt(); main() turns it into exit code 130.
struct Interrupted {
  std::string hint = {};  // what is kept and how to go on, when there is something to say
};

void install_interrupt_handler();
bool interrupt_requested();
// What the handler does, for handlers of programs that go on afterwards (chat): asks work at hand to
// stop. Safe in signal handlers.
void request_interrupt();
void clear_interrupt();  // work may go on
// Throws Interrupted once a signal has arrived. Called between steps of every long loop.
void check_interrupt();

}  // namespace qx
