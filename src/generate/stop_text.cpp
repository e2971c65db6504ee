// SPDX-License-Identifier: Apache-2.0
#include "generate/stop_text.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace qx {
namespace {

// border[n]: length of the longest proper beginning of text that its first n bytes end in (Knuth,
// Morris, Pratt: "Fast pattern matching in strings", 1977).
std::vector<std::size_t> borders_of(std::string_view text) {
  std::vector<std::size_t> border(text.size() + 1, 0);
  std::size_t matched = 0;
  for (std::size_t n = 1; n < text.size(); ++n) {
    while (matched > 0 && text[n] != text[matched]) matched = border[matched];
    if (text[n] == text[matched]) ++matched;
    border[n + 1] = matched;
  }
  return border;
}

}  // namespace

StopText::StopText(std::vector<std::string> stops) {
  for (std::string& text : stops) {
    if (text.empty()) fail("stop", "got an empty string, expected text that ends the answer");
    std::vector<std::size_t> border = borders_of(text);
    stops_.push_back({std::move(text), std::move(border)});
  }
}

std::string StopText::push(std::string_view piece) {
  if (stopped()) return "";
  for (const char byte : piece) {
    held_.push_back(byte);
    for (std::size_t i = 0; i < stops_.size(); ++i) {
      Stop& stop = stops_[i];
      while (stop.matched > 0 && stop.text[stop.matched] != byte) {
        stop.matched = stop.border[stop.matched];
      }
      if (stop.text[stop.matched] == byte) ++stop.matched;
      const bool whole = stop.matched == stop.text.size();
      if (whole && (!stopped() || stop.text.size() > stops_[stopped_by_].text.size())) {
        stopped_by_ = i;
      }
    }
    if (stopped()) {
      held_.resize(held_.size() - stops_[stopped_by_].text.size());
      return std::exchange(held_, {});
    }
  }
  std::size_t keep = 0;
  for (const Stop& stop : stops_) keep = std::max(keep, stop.matched);
  std::string shown = held_.substr(0, held_.size() - keep);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopText::finish() {
  return stopped() ? "" : std::exchange(held_, {});
}

}  // namespace qx
