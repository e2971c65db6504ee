// SPDX-License-Identifier: Apache-2.0
#include "eval/eval_progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "stats/stats.h"

namespace qx {

std::string accuracy_text(std::int64_t right, std::int64_t answered) {
  if (answered == 0) return "";
  const Interval interval = wilson_interval(right, answered, 0.95);
  return fmt::format("acc {:.1f} % ({:.1f} to {:.1f})",
                     100.0 * static_cast<double>(right) / static_cast<double>(answered),
                     100 * interval.low, 100 * interval.high);
}

std::string task_text(const TaskState& state, double seconds) {
  std::string text =
      fmt::format("{} {} {}/{}", state.model, state.task, state.answered, state.items);
  if (seconds > 0 && state.answered_now > 0) {
    const double rate = static_cast<double>(state.tokens) / seconds;
    text += fmt::format(", {:.1f} items/s, {:.0f} tokens/s",
                        static_cast<double>(state.answered_now) / seconds, rate);
    if (rate > 0) {
      text +=
          fmt::format(", {} left", duration_text(static_cast<double>(state.tokens_left) / rate));
    }
  }
  const std::string accuracy = accuracy_text(state.right, state.answered);
  return accuracy.empty() ? text : text + ", " + accuracy;
}

EvalProgress::EvalProgress(std::int64_t items, std::int64_t tokens, bool quiet)
    : progress_("eval", static_cast<std::uint64_t>(items), "items", quiet) {
  progress_.weigh(static_cast<std::uint64_t>(tokens), "tokens");
}

void EvalProgress::answered(const TaskState& state, std::int64_t tokens) {
  const std::string task = state.model + " " + state.task;
  const Clock::time_point now = Clock::now();
  if (task != shown_) begun_ = last_;  // its first pass began when the last one before it ended
  shown_ = task;
  last_ = now;
  progress_.note(task_text(state, std::chrono::duration<double>(now - begun_).count()));
  progress_.advance(1, static_cast<std::uint64_t>(tokens));
}

void EvalProgress::finished(const TaskState& state) {
  progress_.print(fmt::format("{} {}: {} items, {}", state.model, state.task, state.answered,
                              accuracy_text(state.right, state.answered)));
}

}  // namespace qx
