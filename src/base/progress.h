// Progress of work that takes longer than about two seconds, on stderr.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace qx {

// A bar with rate and time left on a terminal; a plain line at most every ten seconds elsewhere.
// Nothing is shown before two seconds have passed, or ever when quiet.
// Threads: advance() may be called from any thread.
class Progress {
 public:
  // unit: what total counts, in the plural ("items", "MB"). total 0: unknown.
  Progress(std::string_view title, std::uint64_t total, std::string_view unit, bool quiet);
  ~Progress();  // clears the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t done_units = 1);
  void note(std::string_view label);  // a short text behind the bar: the tensor or task at hand

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace qx
