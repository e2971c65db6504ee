// The program on a terminal of its own: what a user types, sees and interrupts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace qx::e2e {

class PtyQx {
 public:
  // environment: as run_qx's. TERM is xterm unless given. The terminal is 80 columns wide.
  explicit PtyQx(const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment = {});
  ~PtyQx();  // kills the program if it still runs
  PtyQx(const PtyQx&) = delete;
  PtyQx& operator=(const PtyQx&) = delete;

  void type(std::string_view keys);
  // Reads until `text` has come since the last wait; all that came, up to it. Fails the test, and gives what
  // there is, when the program ends or nothing comes for five minutes.
  std::string wait_for(std::string_view text);
  // Waits for the end: the exit code, 128 + signal when killed.
  int finish();

  pid_t process() const { return process_; }
  const std::string& seen() const { return seen_; }  // everything so far

 private:
  bool read_more();

  pid_t process_ = -1;
  int terminal_ = -1;
  std::string seen_;
  std::size_t waited_ = 0;
};

}  // namespace qx::e2e
