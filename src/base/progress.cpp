// SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <utility>

namespace qx {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kSilent = 2.0;  // seconds before anything is shown
constexpr double kTerminalPeriod = 0.1, kPlainPeriod = 10.0;
constexpr double kListenPeriod = 0.1;
constexpr std::size_t kBarWidth = 24;

thread_local std::shared_ptr<const ProgressListener> g_listener;

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

// The first `columns` characters, of UTF-8 text.
std::string cut(const std::string& text, std::size_t columns) {
  std::size_t bytes = 0;
  for (std::size_t seen = 0; bytes < text.size(); ++bytes) {
    if ((static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) continue;
    if (seen++ == columns) break;
  }
  return text.substr(0, bytes);
}

}  // namespace

std::string duration_text(double seconds) {
  const auto s = static_cast<long>(std::clamp(seconds, 0.0, 9999.0 * 3600) + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

std::string progress_text(const ProgressFacts& facts, bool bar) {
  const bool weighed = facts.total_weight > 0;
  const double seconds = std::max(facts.seconds, 1e-9);
  const double rate = static_cast<double>(facts.done) / seconds;
  const double weight_rate = static_cast<double>(facts.done_weight) / seconds;
  std::string line = facts.title + " ";
  if (facts.total == 0) return line + fmt::format("{} {}, {:.1f}/s", facts.done, facts.unit, rate);
  const auto share_of = [](std::uint64_t part, std::uint64_t whole) {
    return std::min(1.0, static_cast<double>(part) / static_cast<double>(whole));
  };
  const double share = share_of(facts.done, facts.total);
  const double work = weighed ? share_of(facts.done_weight, facts.total_weight) : share;
  if (bar) {
    const auto full = static_cast<std::size_t>(work * kBarWidth);
    line += "[" + std::string(full, '#') + std::string(kBarWidth - full, '.') + "] ";
  }
  line += fmt::format("{}/{} {} ({:.0f}%)", facts.done, facts.total, facts.unit, share * 100);
  if (facts.done == 0) return line;
  if (weighed) {
    line +=
        fmt::format(", {:.1f} {}/s, {:.0f} {}/s", rate, facts.unit, weight_rate, facts.weight_unit);
  } else {
    line += fmt::format(", {:.1f}/s", rate);
  }
  if (work > 0) line += ", " + duration_text(facts.seconds * (1 - work) / work) + " left";
  return line;
}

ListenToProgress::ListenToProgress(ProgressListener listener)
    : outer_(std::exchange(g_listener,
                           std::make_shared<const ProgressListener>(std::move(listener)))) {}

ListenToProgress::~ListenToProgress() {
  g_listener = std::move(outer_);
}

struct Progress::State {
  ProgressFacts facts;
  std::string label;
  bool quiet = false, terminal = false, drawn = false;
  std::size_t lines_below = 0;  // of what is drawn, below its first line
  Clock::time_point start = Clock::now(), last_draw = start, last_told = start;
  std::shared_ptr<const ProgressListener> listener;
  std::mutex mutex;

  bool silent() {
    facts.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return quiet || facts.seconds < kSilent;
  }

  // Called under the mutex, or before other threads know of this.
  void tell(bool force) {
    if (listener == nullptr || !*listener) return;
    const auto now = Clock::now();
    if (!force && std::chrono::duration<double>(now - last_told).count() < kListenPeriod) return;
    last_told = now;
    facts.seconds = std::chrono::duration<double>(now - start).count();
    (*listener)(facts, label);
  }

  void erase() {
    if (!drawn || !terminal) return;
    for (; lines_below > 0; --lines_below) fmt::print(stderr, "\r\033[K\033[A");
    fmt::print(stderr, "\r\033[K");
  }

  void draw(bool force) {
    if (silent()) return;
    const auto now = Clock::now();
    const double since = std::chrono::duration<double>(now - last_draw).count();
    if (!force && since < (terminal ? kTerminalPeriod : kPlainPeriod)) return;
    last_draw = now;
    std::string line = progress_text(facts, terminal);
    if (!terminal) {
      if (!label.empty()) line += "; " + label;
      fmt::print(stderr, "{}\n", line);
    } else {
      erase();
      const std::size_t columns = terminal_columns() - 1;
      const bool below = line.size() + 2 + label.size() > columns;
      if (!label.empty() && !below) line += "  " + label;
      fmt::print(stderr, "{}", cut(line, columns));
      if (!label.empty() && below) {
        fmt::print(stderr, "\n{}", cut("  " + label, columns));
        lines_below = 1;
      }
    }
    std::fflush(stderr);
    drawn = true;
  }
};

Progress::Progress(std::string_view title, std::uint64_t total, std::string_view unit, bool quiet)
    : state_(std::make_unique<State>()) {
  state_->facts.title = title;
  state_->facts.unit = unit;
  state_->facts.total = total;
  state_->quiet = quiet;
  state_->terminal = ::isatty(STDERR_FILENO) == 1;
  state_->listener = g_listener;
  state_->tell(true);
}

Progress::~Progress() {
  state_->erase();
  std::fflush(stderr);
}

void Progress::weigh(std::uint64_t total_weight, std::string_view weight_unit) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->facts.total_weight = total_weight;
  state_->facts.weight_unit = weight_unit;
}

void Progress::advance(std::uint64_t done_units, std::uint64_t done_weight) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  ProgressFacts& facts = state_->facts;
  facts.done += done_units;
  facts.done_weight += done_weight;
  state_->tell(facts.total > 0 && facts.done == facts.total);
  state_->draw(facts.total > 0 && facts.done == facts.total && state_->drawn);
}

void Progress::note(std::string_view label) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->label = label;
  state_->draw(false);
}

void Progress::print(std::string_view line) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  if (state_->silent()) return;
  state_->erase();
  state_->drawn = false;
  fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

}  // namespace qx
