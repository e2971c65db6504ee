// Progress of work that takes longer than about two seconds, on stderr.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace qx {

// A bar with rate and time left on a terminal; a plain line at most every ten seconds elsewhere.
// Nothing is shown before two seconds have passed, or ever when quiet.
// Threads: any thread may call any member.
class Progress {
 public:
  // unit: what total counts, in the plural ("items", "MB"). total 0: unknown.
  Progress(std::string_view title, std::uint64_t total, std::string_view unit, bool quiet);
  ~Progress();  // clears the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // A second measure of the same work, for units of unequal size ("tokens" of items): the time left comes
  // from it. Before the first advance().
  void weigh(std::uint64_t total_weight, std::string_view weight_unit);

  void advance(std::uint64_t done_units = 1, std::uint64_t done_weight = 0);
  // A text about the part at hand: behind the bar, or below it where the terminal is too narrow.
  void note(std::string_view label);
  // A line that stays, above the bar; not shown where progress is not.
  void print(std::string_view line);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct ProgressFacts;
// Hears how far work is, for programs that show it in their own way. Threads: called on any, one
// call at a time for one Progress; it must not throw, nor use Progress.
using ProgressListener = std::function<void(const ProgressFacts& facts, const std::string& label)>;

// While one lives, every Progress that this thread makes tells the listener too, quiet or not: at
// its start, then at most ten times a second, and when it reaches its total. The innermost one
// counts.
class ListenToProgress {
 public:
  explicit ListenToProgress(ProgressListener listener);
  ~ListenToProgress();
  ListenToProgress(const ListenToProgress&) = delete;
  ListenToProgress& operator=(const ListenToProgress&) = delete;

 private:
  std::shared_ptr<const ProgressListener> outer_;
};

// What a progress line says: "eval [####....] 812/2100 items (39%), 40.1 items/s, 5003 tokens/s, 1:20 left".
// Public for its tests.
struct ProgressFacts {
  std::string title, unit, weight_unit;
  std::uint64_t total = 0, done = 0, total_weight = 0, done_weight = 0;
  double seconds = 0;  // since the start
};
std::string progress_text(const ProgressFacts& facts, bool bar);

// "0:07", "12:34", "3:04:05"; no more than 9999 hours.
std::string duration_text(double seconds);

}  // namespace qx
