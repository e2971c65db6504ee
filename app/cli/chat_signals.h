// Signals of a program that a user talks to: Ctrl-C stops an answer, not the program.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qx::cli {

// From its construction to its destruction, in place of base/interrupt.h's handler. SIGINT, however often
// it comes, and the terminal's SIGWINCH and SIGTSTP are noted and wake wait_for_input(). SIGTERM and
// SIGHUP ask for the end; a second one ends the process at once, exit code 130. Both interrupt the work at
// hand (request_interrupt). When interactive is false, SIGINT is as SIGTERM.
// One at a time in a process.
class ChatSignals {
 public:
  explicit ChatSignals(bool interactive);
  ~ChatSignals();
  ChatSignals(const ChatSignals&) = delete;
  ChatSignals& operator=(const ChatSignals&) = delete;

  bool interrupted() const;  // a SIGINT came since forget()
  bool ended() const;        // a SIGTERM or SIGHUP came
  bool stopped_or_ended() const { return interrupted() || ended(); }
  void forget();  // the SIGINTs so far

  bool take_resized();  // whether a SIGWINCH came since the last call
  // While a line is edited SIGTSTP is noted, so that the terminal can be put right first; otherwise the
  // process stops as usual.
  void note_suspend(bool on);
  bool take_suspend();

  // Until there is something to read from the descriptor (true), or a signal came (false).
  bool wait_for_input(int descriptor) const;
};

}  // namespace qx::cli
