// SPDX-License-Identifier: Apache-2.0
#include "compare/comparison.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "compare/recommend.h"
#include "compare/render.h"
#include "compare/test_runs.h"

namespace qx {
namespace {

using test::pattern;
using test::run_of;
using test::task_of;

TEST(Compare, CountsFlipsAndDecidesABigDifference) {
  const auto base = run_of("base", {task_of("arc_easy", pattern(200, 150))});
  const auto worse = run_of("q2", {task_of("arc_easy", pattern(200, 100))});
  const Comparison c = compare_runs({base, worse}, {});
  const Difference& d = c.against_baseline.at(0).tasks.at(0);
  EXPECT_EQ(d.counts.right_to_wrong, 50);
  EXPECT_EQ(d.counts.wrong_to_right, 0);
  EXPECT_DOUBLE_EQ(d.difference, -0.25);
  EXPECT_DOUBLE_EQ(*d.relative, -1.0 / 3);
  EXPECT_EQ(d.verdict, Verdict::kWorse);
  EXPECT_EQ(recommend(c).at(0).choice, "base");
}

// One choice an item, right when greedy decoding gives it (runs/answer_log.h).
TEST(Compare, ClozeQuestionsHaveNoChoiceToFlag) {
  const auto cloze = [](std::size_t right) {
    TaskResults task = task_of("last_word", pattern(50, right));
    for (ItemResult& item : task.items) {
      item.gold = 0;
      item.chosen = item.right ? 0 : 1;
      item.choices = 1;
    }
    return task;
  };
  const Comparison c = compare_runs({run_of("base", {cloze(50)}), run_of("q2", {cloze(0)})}, {});
  EXPECT_EQ(c.tasks.at(0).chance, 0);
  EXPECT_EQ(c.tasks.at(0).majority_share, 0);
  for (const Score& score : c.tasks.at(0).scores) EXPECT_TRUE(score.flags.empty());
  EXPECT_EQ(c.against_baseline.at(0).tasks.at(0).verdict, Verdict::kWorse);
}

TEST(Compare, HolmTurnsALuckyTaskIntoNoise) {
  // Six discordant items of one kind: p = 2/64 = 0.031 alone, 0.22 among seven tasks.
  std::vector<TaskResults> base, variant;
  for (int t = 0; t < 7; ++t) {
    base.push_back(task_of("t" + std::to_string(t), pattern(100, 50)));
    variant.push_back(task_of("t" + std::to_string(t), pattern(100, t == 0 ? 56 : 50)));
  }
  const Comparison c = compare_runs({run_of("a", base), run_of("b", variant)}, {});
  const Difference& d = c.against_baseline[0].tasks[0];
  EXPECT_NEAR(d.p, 2.0 / 64, 1e-12);
  EXPECT_NEAR(d.p_holm, 14.0 / 64, 1e-12);
  EXPECT_EQ(d.verdict, Verdict::kIndistinguishable);
}

TEST(Compare, ConstantAnswerCarriesNoInformation) {
  auto constant = task_of("boolq", pattern(100, 50));
  for (ItemResult& item : constant.items) {
    item.chosen = 1;
    item.right = item.gold == 1;
  }
  const auto other = task_of("piqa", pattern(100, 70));
  const Comparison c =
      compare_runs({run_of("a", {constant, other}), run_of("b", {constant, other})}, {});
  EXPECT_FALSE(c.tasks[0].informative);
  EXPECT_EQ(c.tasks[0].scores[0].flags[0].kind, FlagKind::kConstantAnswer);
  EXPECT_TRUE(c.tasks[1].informative);
  EXPECT_DOUBLE_EQ(*c.runs[0].average, 0.7);
  EXPECT_NE(paragraph(c).find("boolq carries no information"), std::string::npos);
}

TEST(Compare, NinetyFivePercentOfOneIndexIsFlagged) {
  auto task = task_of("winogrande", pattern(100, 50));
  for (std::size_t i = 0; i < 100; ++i) task.items[i].chosen = i < 95 ? 0 : 1;
  const Comparison c = compare_runs({run_of("a", {task}), run_of("b", {task})}, {});
  EXPECT_FALSE(c.tasks[0].informative);
  task.items[0].chosen = 1;
  const Comparison d = compare_runs({run_of("a", {task}), run_of("b", {task})}, {});
  EXPECT_TRUE(d.tasks[0].informative);
}

TEST(Compare, OtherItemsAreLeftOutAndSaid) {
  auto longer = task_of("piqa", pattern(60, 30));
  auto shorter = task_of("piqa", pattern(60, 30));
  shorter.items.resize(40);
  const Comparison c = compare_runs({run_of("a", {longer}), run_of("b", {shorter})}, {});
  EXPECT_EQ(c.tasks[0].n, 40);
  EXPECT_NE(c.notes.at(0).find("20 items are left out"), std::string::npos);
}

TEST(Compare, DifferentQuestionsUnderOneIndexAreRefused) {
  const auto a = task_of("piqa", pattern(10, 5));
  auto b = a;
  b.items[3].doc_hash = "other";
  EXPECT_THROW(compare_runs({run_of("a", {a}), run_of("b", {b})}, {}), Error);
}

// Such as of task data that were mended between two runs: the questions are the same.
TEST(Compare, AnotherGoldAnswerUnderOneIndexIsRefused) {
  const auto a = task_of("piqa", pattern(10, 5));
  auto b = a;
  b.items[3].gold = (b.items[3].gold + 1) % 4;
  EXPECT_THROW(compare_runs({run_of("a", {a}), run_of("b", {b})}, {}), Error);
}

TEST(Compare, AnotherNumberOfChoicesUnderOneIndexIsRefused) {
  const auto a = task_of("piqa", pattern(10, 5));
  auto b = a;
  b.items[3].choices = 5;
  EXPECT_THROW(compare_runs({run_of("a", {a}), run_of("b", {b})}, {}), Error);
}

TEST(Compare, NeedsTwoRunsOfDifferentNames) {
  const auto a = run_of("a", {task_of("piqa", pattern(10, 5))});
  EXPECT_THROW(compare_runs({a}, {}), UsageError);
  EXPECT_THROW(compare_runs({a, a}, {}), UsageError);
  const auto b = run_of("b", {task_of("boolq", pattern(10, 5))});
  EXPECT_THROW(compare_runs({a, b}, {}), Error);
}

TEST(Compare, EquivalentNeedsItemsAndAMargin) {
  const auto versus = [](std::size_t n, double margin) {
    const auto a = run_of("a", {task_of("piqa", pattern(n, n / 2))});
    const auto b = run_of("b", {task_of("piqa", pattern(n, n / 2, 2))});
    return compare_runs({a, b}, {0, margin});
  };
  const Difference few = versus(200, 0.01).against_baseline[0].tasks[0];
  EXPECT_EQ(few.verdict, Verdict::kIndistinguishable);
  EXPECT_GT(few.items_needed.value_or(0), 100);
  const Comparison many = versus(4000, 0.01);
  EXPECT_EQ(many.against_baseline[0].tasks[0].verdict, Verdict::kEquivalent);
  EXPECT_TRUE(many.against_baseline[0].tasks[0].within_margin);
  EXPECT_EQ(many.against_baseline[0].average->verdict, Verdict::kEquivalent);
  EXPECT_FALSE(many.against_baseline[0].tasks[0].items_needed);
  EXPECT_EQ(versus(200, 0.06).against_baseline[0].tasks[0].verdict, Verdict::kEquivalent);
  EXPECT_THROW(versus(200, 0), UsageError);
  EXPECT_THROW(versus(200, 1), UsageError);
  EXPECT_THROW(versus(200, std::nan("")), UsageError);
}

// A difference that is shown stays one when it is also shown to be small.
TEST(Compare, SmallButShownIsBetterByLessThanTheMargin) {
  const auto a = run_of("a", {task_of("piqa", pattern(20'000, 10'000))});
  const auto b = run_of("b", {task_of("piqa", pattern(20'000, 10'030))});
  const Difference d = compare_runs({a, b}, {}).against_baseline[0].tasks[0];
  EXPECT_EQ(d.verdict, Verdict::kBetter);
  EXPECT_TRUE(d.within_margin);
}

TEST(Compare, TwoConstantAnswersAreNotCalledEquivalent) {
  auto constant = task_of("boolq", pattern(2000, 1000));
  for (ItemResult& item : constant.items) {
    item.chosen = 1;
    item.right = item.gold == 1;
  }
  const Comparison c = compare_runs({run_of("a", {constant}), run_of("b", {constant})}, {});
  const Difference& d = c.against_baseline[0].tasks[0];
  EXPECT_LT(d.p_equivalence_holm, 0.05);
  EXPECT_FALSE(d.within_margin);
  EXPECT_EQ(d.verdict, Verdict::kIndistinguishable);
  EXPECT_FALSE(c.against_baseline[0].average);
  EXPECT_FALSE(c.runs[0].average);
}

// Holm over all pairs: the average of one pair is corrected for the others.
TEST(Compare, AveragesAreCorrectedOverAllPairs) {
  const auto run = [](const std::string& name, std::size_t right) {
    return run_of(name, {task_of("a", pattern(300, right)), task_of("b", pattern(300, right))});
  };
  // Five of 300 lost in each task: p = 2/1024 among ten discordant items.
  const Comparison two = compare_runs({run("base", 150), run("q", 145)}, {});
  EXPECT_NEAR(two.against_baseline[0].average->p, 2.0 / 1024, 1e-12);
  EXPECT_EQ(two.against_baseline[0].average->p_holm, two.against_baseline[0].average->p);
  EXPECT_EQ(two.against_baseline[0].average->verdict, Verdict::kWorse);
  const Comparison more =
      compare_runs({run("base", 150), run("q", 145), run("r", 148), run("s", 147)}, {});
  const AverageDifference& average = *more.against_baseline[0].average;
  EXPECT_EQ(average.p, two.against_baseline[0].average->p);
  EXPECT_NEAR(average.p_holm, 6 * average.p, 1e-12);
}

TEST(Compare, MicroWeighsItemsAndMacroTasks) {
  const auto a = run_of("a", {task_of("s", pattern(100, 50)), task_of("t", pattern(300, 150))});
  const auto b = run_of("b", {task_of("s", pattern(100, 40)), task_of("t", pattern(300, 150))});
  const Comparison c = compare_runs({a, b}, {});
  EXPECT_NEAR(c.against_baseline[0].average->difference, -0.05, 1e-12);
  EXPECT_NEAR(c.against_baseline[0].micro->difference, -0.025, 1e-12);
  EXPECT_NEAR(*c.runs[1].micro, 190.0 / 400, 1e-12);
  EXPECT_EQ(c.against_baseline[0].average->n, 400);
  EXPECT_EQ(c.against_baseline[0].average->tasks, 2);
}

// Items of one passage that change together are one piece of evidence.
TEST(Compare, PassagesWidenErrorsAndWeakenTests) {
  auto a = task_of("boolq", pattern(200, 100));
  auto b = task_of("boolq", pattern(200, 80));  // items 80 .. 99 lost: five passages of four
  const Comparison items = compare_runs({run_of("a", {a}), run_of("b", {b})}, {});
  for (std::size_t i = 0; i < 200; ++i) a.items[i].cluster = "p" + std::to_string(i / 4);
  const Comparison passages = compare_runs({run_of("a", {a}), run_of("b", {b})}, {});
  const Difference& by_item = items.against_baseline[0].tasks[0];
  const Difference& by_passage = passages.against_baseline[0].tasks[0];
  EXPECT_EQ(by_item.clusters, 0);
  EXPECT_EQ(by_passage.clusters, 50);  // known from one run alone
  EXPECT_NEAR(by_passage.p, 2.0 / 32, 1e-12);
  EXPECT_LT(by_item.p, 1e-5);
  EXPECT_EQ(by_passage.verdict, Verdict::kIndistinguishable);
  EXPECT_NEAR(by_passage.design_effect, 4, 0.1);
  EXPECT_NEAR(by_passage.stderr_, 2 * by_item.stderr_, 0.001);
  EXPECT_LT(by_passage.interval.low, by_item.interval.low);
  EXPECT_LT(by_passage.score_interval.low, by_item.score_interval.low);
  EXPECT_GT(by_passage.p_equivalence, 0.9);
  EXPECT_GT(*passages.tasks[0].scores[0].clustered_stderr, items.tasks[0].scores[0].stderr_);
  EXPECT_FALSE(items.tasks[0].scores[0].clustered_stderr);
  // One passage each is no passage at all.
  for (std::size_t i = 0; i < 200; ++i) a.items[i].cluster = "p" + std::to_string(i);
  EXPECT_EQ(
      compare_runs({run_of("a", {a}), run_of("b", {b})}, {}).against_baseline[0].tasks[0].clusters,
      0);
}

TEST(Compare, MarginsAreEvidenceThatAccuracyCannotSee) {
  const auto a = task_of("piqa", pattern(200, 100));
  auto b = a;
  for (std::size_t i = 0; i < 200; ++i)
    b.items[i].margin -= 0.1 + 0.001 * static_cast<double>(i % 5);
  b.items[7].margin = std::nan("");
  const Comparison c = compare_runs({run_of("a", {a}), run_of("b", {b})}, {});
  const Difference& d = c.against_baseline[0].tasks[0];
  EXPECT_EQ(d.difference, 0);
  ASSERT_TRUE(d.margin_shift);
  EXPECT_EQ(d.margin_shift->n, 199);
  EXPECT_NEAR(d.margin_shift->mean, -0.102, 1e-3);
  EXPECT_LT(d.margin_shift->p, 0.001);
  EXPECT_TRUE(d.margin_shift->interval.low <= d.margin_shift->mean &&
              d.margin_shift->mean <= d.margin_shift->interval.high &&
              d.margin_shift->interval.high < -0.1);
  const Comparison without = compare_runs({run_of("a", {a}), run_of("b", {b})}, {0, 0.01, 0});
  EXPECT_FALSE(without.against_baseline[0].tasks[0].margin_shift);
}

// Two variants that answer alike in truth: fewer than 5 % of comparisons may show any difference
// over seven tasks.
TEST(Compare, FalseVerdictsStayUnderFivePercent) {
  Random random(5);
  constexpr int kRuns = 400;
  int false_verdicts = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<TaskResults> a, b;
    for (int t = 0; t < 7; ++t) {
      std::vector<bool> x(150), y(150);
      for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = random.uniform() < 0.5;
        y[i] = random.uniform() < 0.2 ? random.uniform() < 0.5 : x[i];
      }
      a.push_back(task_of("t" + std::to_string(t), x));
      b.push_back(task_of("t" + std::to_string(t), y));
    }
    const Comparison c = compare_runs({run_of("a", a), run_of("b", b)}, {0, 0.01, 0});
    bool any = false;
    for (const Difference& d : c.against_baseline[0].tasks) {
      any = any || d.verdict != Verdict::kIndistinguishable;
    }
    false_verdicts += any ? 1 : 0;
  }
  EXPECT_LT(false_verdicts, kRuns * 0.05);
}

TEST(Render, JsonHasTheContractsFields) {
  const auto a = run_of("a", {task_of("piqa", pattern(100, 60))});
  const auto b = run_of("b", {task_of("piqa", pattern(100, 40))});
  const Json j = render_json(compare_runs({a, b}, {}));
  EXPECT_EQ(j.at("baseline"), "a");
  const Json& v = j.at("tasks").at(0).at("variants").at("b");
  for (const char* key : {"acc", "stderr", "ci", "diff", "diff_ci", "right_to_wrong",
                          "wrong_to_right", "p", "p_holm", "verdict", "flags"}) {
    EXPECT_TRUE(v.contains(key)) << key;
  }
  EXPECT_EQ(v.at("verdict"), "worse");
  EXPECT_FALSE(j.at("tasks").at(0).at("variants").at("a").contains("verdict"));
  EXPECT_TRUE(j.contains("average"));
  EXPECT_TRUE(j.at("recommendation").is_array());
}

TEST(Render, TextShowsTheTableAndTheParagraph) {
  const auto a = run_of("a", {task_of("piqa", pattern(100, 60))});
  const auto b = run_of("b", {task_of("piqa", pattern(100, 40))});
  const std::string text = render_text(compare_runs({a, b}, {}));
  EXPECT_NE(text.find("0.600 ±0.049"), std::string::npos) << text;
  EXPECT_NE(text.find("-20.0"), std::string::npos) << text;
  EXPECT_NE(text.find("-33.3 %"), std::string::npos) << text;
}

}  // namespace
}  // namespace qx
