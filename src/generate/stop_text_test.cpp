// SPDX-License-Identifier: Apache-2.0
#include "generate/stop_text.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "base/random.h"

namespace qx {
namespace {

TEST(StopText, HoldsBackWhatMayBecomeAStop) {
  StopText stop({"END"});
  EXPECT_EQ(stop.push("a E"), "a ");
  EXPECT_EQ(stop.push("N"), "");
  EXPECT_EQ(stop.push("E"), "EN");
  EXPECT_EQ(stop.push("ND of"), "");
  EXPECT_TRUE(stop.stopped());
  ASSERT_NE(stop.stopped_by(), nullptr);
  EXPECT_EQ(*stop.stopped_by(), "END");
  EXPECT_EQ(stop.push("more"), "");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopText, WhatIsHeldComesOutAtTheEnd) {
  StopText stop({"END"});
  EXPECT_EQ(stop.push("an EN"), "an ");
  EXPECT_FALSE(stop.stopped());
  EXPECT_EQ(stop.stopped_by(), nullptr);
  EXPECT_EQ(stop.finish(), "EN");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopText, TheFirstToBeCompleteEndsTheText) {
  StopText inner({"abcd", "bc"});
  EXPECT_EQ(inner.push("xabcd"), "xa");
  StopText longest({"c", "bc", "xc"});
  EXPECT_EQ(longest.push("abcd"), "a");
  EXPECT_EQ(*longest.stopped_by(), "bc");
}

TEST(StopText, NoStopsAndEmptyStops) {
  StopText none({});
  EXPECT_EQ(none.push("all of it"), "all of it");
  EXPECT_THROW(StopText({"a", ""}), Error);
}

TEST(StopText, CharactersStayWhole) {
  StopText stop({"\xC3\xA9!"});  // e with acute, and a mark
  EXPECT_EQ(stop.push("caf\xC3\xA9"), "caf");
  EXPECT_EQ(stop.push("?"), "\xC3\xA9?");
  EXPECT_EQ(stop.push("\xC3\xA8"), "\xC3\xA8");  // shares its first byte with the stop
}

// The plain reading: at every byte, does the text end in a stop?
std::string cut_plainly(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopText, AnyCutOfTheTextGivesTheSame) {
  Random random(7);
  const auto letters = [&](std::uint64_t most) {
    std::string out;
    for (std::uint64_t n = random.below(most) + 1; n > 0; --n) {
      out += static_cast<char>('a' + random.below(2));
    }
    return out;
  };
  int stopped = 0;
  for (int round = 0; round < 4000; ++round) {
    const std::string text = letters(24);
    std::vector<std::string> stops;
    for (std::uint64_t n = random.below(3) + 1; n > 0; --n) stops.push_back(letters(7));
    StopText stop(stops);
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t count = random.below(4);
      shown += stop.push(std::string_view(text).substr(at, count));
      at += count;
      // Never shows what a later piece could take back.
      ASSERT_TRUE(cut_plainly(text, stops).starts_with(shown)) << text;
    }
    shown += stop.finish();
    ASSERT_EQ(shown, cut_plainly(text, stops)) << text;
    stopped += stop.stopped();
  }
  EXPECT_GT(stopped, 1000);
  EXPECT_LT(stopped, 3900);
}

}  // namespace
}  // namespace qx
