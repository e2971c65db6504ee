// What progress lines say; drawing is left to the eye.
// SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace qx {
namespace {

TEST(Progress, DurationsAreMinutesAndHours) {
  EXPECT_EQ(duration_text(0), "0:00");
  EXPECT_EQ(duration_text(7.4), "0:07");
  EXPECT_EQ(duration_text(59.6), "1:00");
  EXPECT_EQ(duration_text(3599), "59:59");
  EXPECT_EQ(duration_text(11045), "3:04:05");
  EXPECT_EQ(duration_text(-1), "0:00");
  EXPECT_EQ(duration_text(1e300), "9999:00:00");
}

TEST(Progress, RateAndTimeLeft) {
  ProgressFacts f{"import", "MB", "", 200, 50, 0, 0, 10};
  EXPECT_EQ(progress_text(f, false), "import 50/200 MB (25%), 5.0/s, 0:30 left");
  EXPECT_EQ(progress_text(f, true),
            "import [######..................] 50/200 MB (25%), 5.0/s, 0:30 left");
  f.total = 0;
  EXPECT_EQ(progress_text(f, true), "import 50 MB, 5.0/s");
}

TEST(Progress, TimeLeftComesFromTheWeightWhenThereIsOne) {
  // Half of the items, but only a tenth of the tokens.
  const ProgressFacts f{"eval", "items", "tokens", 20, 10, 10'000, 1'000, 4};
  EXPECT_EQ(
      progress_text(f, true),
      "eval [##......................] 10/20 items (50%), 2.5 items/s, 250 tokens/s, 0:36 left");
}

TEST(Progress, TheBeginningAndTheEndDivideByNothing) {
  ProgressFacts f{"eval", "items", "tokens", 20, 0, 100, 0, 0};
  EXPECT_EQ(progress_text(f, false), "eval 0/20 items (0%)");
  f.done = 25;  // more than announced
  f.done_weight = 200;
  f.seconds = 5;
  EXPECT_EQ(progress_text(f, false),
            "eval 25/20 items (100%), 5.0 items/s, 40 tokens/s, 0:00 left");
}

}  // namespace

TEST(Progress, AListenerHearsTheStartAndTheEndOfQuietWork) {
  std::vector<std::pair<std::string, std::uint64_t>> heard;
  {
    const ListenToProgress listen([&](const ProgressFacts& facts, const std::string& label) {
      EXPECT_EQ(facts.total, 3u);
      EXPECT_EQ(facts.unit, "items");
      heard.emplace_back(facts.title + label, facts.done);
    });
    Progress progress("work", 3, "items", true);
    progress.note(": b");
    progress.advance(2);
    progress.advance(1);
  }
  Progress unheard("after", 3, "items", true);
  ASSERT_GE(heard.size(), 2u);
  EXPECT_EQ(heard.front(), std::pair(std::string("work"), std::uint64_t{0}));
  EXPECT_EQ(heard.back(), std::pair(std::string("work: b"), std::uint64_t{3}));
}

TEST(Progress, TheInnermostListenerHearsAndOtherThreadsAreNotListenedTo) {
  int outer = 0, inner = 0;
  const ListenToProgress listen_outer([&](const ProgressFacts&, const std::string&) { ++outer; });
  {
    const ListenToProgress listen_inner([&](const ProgressFacts&, const std::string&) { ++inner; });
    const Progress progress("a", 1, "items", true);
  }
  EXPECT_EQ(inner, 1);
  EXPECT_EQ(outer, 0);
  std::thread([] { const Progress progress("b", 1, "items", true); }).join();
  EXPECT_EQ(outer, 0);
  const Progress progress("c", 1, "items", true);
  EXPECT_EQ(outer, 1);
}

}  // namespace qx
