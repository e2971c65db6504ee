// SPDX-License-Identifier: Apache-2.0
#include "compare/words.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compare/test_runs.h"

namespace qx {
namespace {

using test::pattern;
using test::run_of;
using test::task_of;

TEST(Words, Numbers) {
  EXPECT_EQ(points(0.0123), "+1.2");
  EXPECT_EQ(points(-0.0004), "0.0");
  EXPECT_EQ(points(0), "0.0");
  EXPECT_EQ(points(std::nan("")), "unknown");
  EXPECT_EQ(interval_words({-0.012, 0.0304}), "95 % interval -1.2 to +3.0");
  EXPECT_EQ(margin_words(0.01), "1 point");
  EXPECT_EQ(margin_words(0.005), "0.5 points");
  EXPECT_EQ(count_words(7), "7");
  EXPECT_EQ(count_words(1172), "1,172");
  EXPECT_EQ(count_words(-1234567), "-1,234,567");
  EXPECT_EQ(about_words(7), "about 7");
  EXPECT_EQ(about_words(2345), "about 2,300");
  EXPECT_EQ(about_words(9960), "about 10,000");
  EXPECT_EQ(size_words(84'300'000), "84.3 MB");
  EXPECT_EQ(size_words(16'400'000'000), "16.4 GB");
  EXPECT_EQ(size_words(1234), "1,234 bytes");
  EXPECT_EQ(join_words({}), "nothing");
  EXPECT_EQ(join_words({"a", "b", "c"}), "a, b and c");
}

TEST(Words, Verdicts) {
  EXPECT_EQ(verdict_words(Verdict::kBetter, false, 0.01), "better");
  EXPECT_EQ(verdict_words(Verdict::kWorse, true, 0.01), "worse by less than the margin of 1 point");
  EXPECT_EQ(verdict_words(Verdict::kEquivalent, true, 0.02), "equivalent within 2 points");
  EXPECT_EQ(verdict_words(Verdict::kIndistinguishable, false, 0.01), "indistinguishable");
}

Comparison two(std::size_t n, std::size_t base, std::size_t variant, std::size_t shift = 0) {
  return compare_runs({run_of("base", {task_of("piqa", pattern(n, base))}),
                       run_of("q4", {task_of("piqa", pattern(n, variant, shift))})},
                      {});
}

std::string first_task(const Comparison& c) {
  return task_sentence(c, c.against_baseline[0], 0);
}

TEST(Words, TaskSentences) {
  EXPECT_EQ(first_task(two(400, 300, 240)),
            "q4 is worse than base on piqa (-15.0 points, 95 % interval -18.5 to -11.5).");
  EXPECT_EQ(first_task(two(20'000, 10'000, 10'030)),
            "q4 is better than base by less than the margin of 1 point on piqa (+0.1 points, "
            "95 % interval +0.1 to +0.2).");
  EXPECT_EQ(first_task(two(4000, 2000, 2000, 2)),
            "q4 is equivalent to base within 1 point on piqa (0.0 points, 95 % interval -0.1 to "
            "+0.1).");
  const std::string open = first_task(two(100, 60, 60, 2));
  EXPECT_EQ(open.find("q4 and base are indistinguishable on piqa (100 items, 95 % interval"), 0u);
  EXPECT_NE(open.find("more items would decide"), std::string::npos) << open;
  EXPECT_EQ(first_task(two(1, 1, 1)),
            "Nothing can be said from piqa (q4 answers choice 0 for its one item and base answers "
            "choice 0 for its one item).");
}

// An undecided difference has no sign in words, however large it looks.
TEST(Words, AnUndecidedDifferenceIsNoAdvantage) {
  for (const std::size_t variant : {57u, 63u}) {
    const Comparison c = two(100, 60, variant);
    const std::string text = first_task(c) + average_sentence(c, c.against_baseline[0]) +
                             pair_sentence(c, c.against_baseline[0]);
    for (const char* word : {"better", "worse", "ahead", "+3.0 points", "-3.0 points"}) {
      EXPECT_EQ(text.find(word), std::string::npos) << text;
    }
  }
}

TEST(Words, ATaskWithoutInformation) {
  auto constant = task_of("boolq", pattern(100, 50));
  for (ItemResult& item : constant.items) {
    item.chosen = 1;
    item.right = item.gold == 1;
  }
  const auto base = run_of("base", {task_of("boolq", pattern(100, 80))});
  const Comparison both = compare_runs({run_of("base", {constant}), run_of("q4", {constant})}, {});
  EXPECT_EQ(first_task(both),
            "Nothing can be said from boolq (q4 answers choice 1 for all 100 items and base "
            "answers choice 1 for all 100 items).");
  EXPECT_EQ(average_sentence(both, both.against_baseline[0]),
            "There is no average: no task of two or more items carries information.");
  const Comparison one = compare_runs({base, run_of("q4", {constant})}, {});
  const std::string text = first_task(one);
  EXPECT_EQ(text.find("q4 is worse than base on boolq"), 0u) << text;
  EXPECT_NE(text.find("answers choice 1 for all 100 items"), std::string::npos) << text;
  // The other way round the answers are better than one that is always the same, which is no merit to tell.
  const Comparison other = compare_runs({run_of("q4", {constant}), base}, {});
  EXPECT_EQ(other.against_baseline[0].tasks[0].verdict, Verdict::kBetter);
  EXPECT_EQ(first_task(other),
            "Nothing can be said from boolq (q4 answers choice 1 for all 100 items).");
  EXPECT_EQ(pair_sentence(other, other.against_baseline[0]).find("better"), std::string::npos);
}

TEST(Words, PairSentenceNamesEachVerdictOnce) {
  const auto run = [](const std::string& name, std::size_t a, std::size_t b, std::size_t shift) {
    return run_of(name, {task_of("arc_easy", pattern(400, a)), task_of("boolq", pattern(400, b)),
                         task_of("hellaswag", pattern(8000, 4000, shift)),
                         task_of("piqa", pattern(100, 50, shift))});
  };
  const Comparison c = compare_runs({run("base", 200, 200, 0), run("q4", 150, 260, 2)}, {});
  const std::string text = pair_sentence(c, c.against_baseline[0]);
  EXPECT_EQ(text.find("Against base, q4 is worse on arc_easy (-12.5 points"), 0u) << text;
  EXPECT_NE(text.find("better on boolq (+15.0 points"), std::string::npos) << text;
  EXPECT_NE(text.find("equivalent within 1 point on hellaswag (0.0 points"), std::string::npos);
  EXPECT_NE(text.find("indistinguishable on piqa;"), std::string::npos) << text;
  EXPECT_NE(text.find("on the average of 4 tasks it is"), std::string::npos) << text;
}

}  // namespace
}  // namespace qx
