// Windows of each convention, by hand.
// SPDX-License-Identifier: Apache-2.0
#include "distance/windows.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "distance/passes.h"

namespace qx {
namespace {

using Windows = std::vector<Window>;
constexpr WindowConvention kLlama = WindowConvention::kLlamaCpp, kMlx = WindowConvention::kMlxLm,
                           kSliding = WindowConvention::kSliding;

TEST(Windows, LlamaCppCountsTheSecondHalf) {
  // Predictions at ctx/2 to ctx - 2 count: of 8 tokens, targets 5, 6 and 7; of 7, targets 4 to 6.
  EXPECT_EQ(make_windows({kLlama, 8}, 23, false, "t"), (Windows{{0, 8, 5}, {8, 16, 13}}));
  EXPECT_EQ(make_windows({kLlama, 7}, 14, true, "t"),
            (Windows{{0, 7, 4, true}, {7, 14, 11, true}}));
  EXPECT_EQ(make_windows({kLlama, 8, 0, 1}, 24, false, "t"), (Windows{{0, 8, 5}}));
  EXPECT_EQ(count_targets(make_windows({kLlama, 512}, 1024, false, "t")), 2 * 255);
}

TEST(Windows, LlamaCppWithAStride) {
  // ctx 8, stride 4: windows of 10, one every 4 tokens while they end before the text does; the last 4
  // targets count; no BOS.
  EXPECT_EQ(window_length({kLlama, 8, 4}), 10);
  EXPECT_EQ(make_windows({kLlama, 8, 4}, 20, true, "t"),
            (Windows{{0, 10, 6}, {4, 14, 10}, {8, 18, 14}}));
  EXPECT_EQ(make_windows({kLlama, 8, 4}, 23, true, "t").size(), 4u);
}

TEST(Windows, MlxLmCountsAllButTheFirst) {
  EXPECT_EQ(make_windows({kMlx, 5}, 14, true, "t"), (Windows{{0, 5, 1}, {5, 10, 6}}));
}

TEST(Windows, SlidingCountsEachTargetOnce) {
  EXPECT_EQ(make_windows({kSliding, 6, 2}, 9, true, "t"),
            (Windows{{0, 6, 1}, {2, 8, 6}, {4, 9, 8}}));
  EXPECT_EQ(make_windows({kSliding, 6}, 3, false, "t"), (Windows{{0, 3, 1}}));
  for (const std::int64_t ctx : {2, 3, 7, 16}) {
    for (std::int64_t stride = 1; stride < ctx; ++stride) {
      for (const std::int64_t tokens : {2, 3, 15, 16, 17, 50}) {
        std::int64_t next = 1;
        for (const Window& w : make_windows({kSliding, ctx, stride}, tokens, false, "t")) {
          EXPECT_EQ(w.first_target, next);
          EXPECT_LE(w.end - w.begin, ctx);
          next = w.end;
        }
        EXPECT_EQ(next, tokens) << ctx << ' ' << stride;
      }
    }
  }
  // Side by side, a window's first token has nothing before it.
  EXPECT_EQ(make_windows({kSliding, 4, 4}, 9, false, "t"), (Windows{{0, 4, 1}, {4, 8, 5}}));
}

TEST(Windows, ShortTextsAreErrorsThatSayHowMany) {
  const auto message = [](const WindowRules& rules, std::int64_t tokens) -> std::string {
    try {
      make_windows(rules, tokens, false, "file.txt");
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_NE(message({kLlama, 8}, 15).find("[file.txt] got a text of 15 tokens, expected 16"),
            std::string::npos);
  EXPECT_EQ(message({kLlama, 8}, 16), "no error");
  EXPECT_NE(message({kLlama, 8, 4}, 19).find("expected 20"), std::string::npos);
  EXPECT_NE(message({kMlx, 8}, 7).find("expected 8"), std::string::npos);
  EXPECT_NE(message({kSliding, 8}, 1).find("expected 2"), std::string::npos);
  EXPECT_NE(message({kSliding, 8}, 0).find("expected 2"), std::string::npos);
}

TEST(Windows, RulesThatMakeNoSenseAreUsageErrors) {
  EXPECT_THROW(window_length({kLlama, 2}), UsageError);
  EXPECT_THROW(window_length({kMlx, 1}), UsageError);
  EXPECT_THROW(window_length({kMlx, 8, 4}), UsageError);
  EXPECT_THROW(window_length({kSliding, 8, 9}), UsageError);
  EXPECT_THROW(window_length({kSliding, 8, -1}), UsageError);
  EXPECT_EQ(effective_stride({kSliding, 9}), 4);
  EXPECT_EQ(effective_stride({kMlx, 9}), 9);
}

// Every read of every window once and in order, every target once and in order, whatever the size.
TEST(Passes, CoverAllWindows) {
  const Windows windows = make_windows({kSliding, 70, 30}, 411, false, "t");
  for (const std::int64_t size : {1, 7, 33, 64, 100, 1000, 100000}) {
    std::vector<std::int64_t> reads, targets, wanted_reads, wanted_targets;
    for (const TextPass& pass : plan_passes(windows, size)) {
      std::int64_t own = 0;
      for (const PassPiece& piece : pass.pieces) {
        for (std::int64_t r = piece.begin; r < piece.end; ++r) {
          reads.push_back(static_cast<std::int64_t>(piece.window) * 1000 + r);
        }
        own += piece.end - piece.begin;
      }
      EXPECT_LE(own, size);
      EXPECT_EQ(own, pass.reads);
      targets.insert(targets.end(), pass.targets.begin(), pass.targets.end());
    }
    for (std::size_t w = 0; w < windows.size(); ++w) {
      for (std::int64_t r = windows[w].begin; r < windows[w].end - 1; ++r) {
        wanted_reads.push_back(static_cast<std::int64_t>(w) * 1000 + r);
      }
      for (std::int64_t t = windows[w].first_target; t < windows[w].end; ++t) {
        wanted_targets.push_back(t);
      }
    }
    EXPECT_EQ(reads, wanted_reads) << size;
    EXPECT_EQ(targets, wanted_targets) << size;
    EXPECT_EQ(static_cast<std::int64_t>(reads.size()), count_reads(windows));
  }
}

}  // namespace
}  // namespace qx
