// SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>

namespace qx {
namespace {
using Clock = std::chrono::steady_clock;

std::string duration_text(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}
}  // namespace

struct Progress::State {
  std::string title, unit, label;
  std::uint64_t total = 0, done = 0;
  bool quiet = false, terminal = false, drawn = false;
  Clock::time_point start = Clock::now(), last_draw = start;
  std::mutex mutex;

  void draw(bool force) {
    const auto now = Clock::now();
    const double elapsed = std::chrono::duration<double>(now - start).count();
    const double since = std::chrono::duration<double>(now - last_draw).count();
    if (quiet || elapsed < 2.0) return;
    if (!force && since < (terminal ? 0.1 : 10.0)) return;
    last_draw = now;
    const double rate = static_cast<double>(done) / std::max(elapsed, 1e-9);
    std::string line = title + " ";
    if (total > 0) {
      const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
      if (terminal) {
        const auto full = static_cast<std::size_t>(share * 24);
        line += "[" + std::string(full, '#') + std::string(24 - full, '.') + "] ";
      }
      line += fmt::format("{}/{} {} ({:.0f}%)", done, total, unit, share * 100);
      if (rate > 0 && done > 0) {
        line +=
            fmt::format(", {:.1f}/s, {} left", rate,
                        duration_text(static_cast<double>(total - std::min(total, done)) / rate));
      }
    } else {
      line += fmt::format("{} {}, {:.1f}/s", done, unit, rate);
    }
    if (!label.empty()) line += "  " + label;
    if (terminal) {
      fmt::print(stderr, "\r\033[K{}", line.substr(0, 110));
    } else {
      fmt::print(stderr, "{}\n", line);
    }
    std::fflush(stderr);
    drawn = true;
  }
};

Progress::Progress(std::string_view title, std::uint64_t total, std::string_view unit, bool quiet)
    : state_(std::make_unique<State>()) {
  state_->title = title;
  state_->unit = unit;
  state_->total = total;
  state_->quiet = quiet;
  state_->terminal = ::isatty(STDERR_FILENO) == 1;
}

Progress::~Progress() {
  if (state_->drawn && state_->terminal) {
    fmt::print(stderr, "\r\033[K");
    std::fflush(stderr);
  }
}

void Progress::advance(std::uint64_t done_units) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->done += done_units;
  state_->draw(state_->total > 0 && state_->done == state_->total && state_->drawn);
}

void Progress::note(std::string_view label) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->label = label;
  state_->draw(false);
}

}  // namespace qx
