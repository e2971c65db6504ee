// SPDX-License-Identifier: Apache-2.0
#include "chat_display.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "text/visible.h"

namespace qx::cli {
namespace {

constexpr const char* kDim = "\x1b[2m";
constexpr const char* kPlain = "\x1b[0m";

// Tabs and line feeds stay; other controls would move the cursor or change colours.
std::string safe_for_terminal(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t count = std::min(text.find_first_of("\t\n"), text.size());
    out += without_controls(text.substr(0, count));
    if (count < text.size()) out += text[count];
    text.remove_prefix(std::min(count + 1, text.size()));
  }
  return out;
}

}  // namespace

void ChatDisplay::write(std::string_view text) {
  if (text.empty()) return;
  std::fwrite(text.data(), 1, text.size(), stdout);
  line_begins_ = text.ends_with('\n');
}

void ChatDisplay::begin(const ThinkingMarkers& markers) {
  markers_ = markers;
  answering_ = true;
  thinking_ = false;
  line_begins_ = true;
}

void ChatDisplay::leave_thinking(bool for_answer) {
  if (!thinking_) return;
  thinking_ = false;
  if (!line_begins_) write("\n");
  if (colours_) {
    std::fputs(kPlain, stdout);
  } else {
    write(markers_.close + "\n");
  }
  if (for_answer) write("\n");
}

void ChatDisplay::show(const AnswerPiece& piece) {
  if (piece.thinking && !thinking_) {
    thinking_ = true;
    if (colours_) {
      std::fputs(kDim, stdout);
    } else {
      write(markers_.open + "\n");
    }
  }
  if (!piece.thinking) leave_thinking(true);
  write(terminal_ ? safe_for_terminal(piece.text) : piece.text);
  std::fflush(stdout);
}

void ChatDisplay::end() {
  if (!answering_) return;
  answering_ = false;
  leave_thinking(false);
  if (!line_begins_) write("\n");
  std::fflush(stdout);
}

void ChatDisplay::note(const std::string& line) const {
  const std::string safe = without_controls(line);
  fmt::print(stderr, "{}{}{}\n", colours_ ? kDim : "", safe, colours_ ? kPlain : "");
}

}  // namespace qx::cli
