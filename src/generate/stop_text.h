// Strings that end a text, wherever the borders between tokens fall in them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

// Feed pieces of a text as they come (StreamDetokenizer's) and show what comes back: the text before
// the stop string, without any beginning of one that may still become whole. The stop string that is
// complete first ends the text, the longest where several end at one byte. What is shown does not
// depend on how the text is cut into pieces: all push() and the finish() together are the text up
// to the stop string, or all of it.
// Whole characters stay whole when the pieces and the stop strings are UTF-8.
// Time: proportional to the text's bytes times the number of stop strings, whatever their length.
class StopText {
 public:
  // Fails: Error (place "stop") for an empty string. No strings: everything passes.
  explicit StopText(std::vector<std::string> stops);

  std::string push(std::string_view piece);  // "" once stopped
  std::string finish();                      // what is still held back; "" once stopped

  bool stopped() const { return stopped_by_ != kNone; }
  // Which one of the strings given, or nothing.
  const std::string* stopped_by() const { return stopped() ? &stops_[stopped_by_].text : nullptr; }

 private:
  struct Stop {
    std::string text;
    std::vector<std::size_t> border;  // for KMP: border[n], of the first n bytes
    std::size_t matched = 0;          // longest beginning of text that the text so far ends in
  };
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  std::vector<Stop> stops_;
  std::string held_;
  std::size_t stopped_by_ = kNone;
};

}  // namespace qx
