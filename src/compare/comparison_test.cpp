// SPDX-License-Identifier: Apache-2.0
#include "compare/comparison.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "compare/recommend.h"
#include "compare/render.h"

namespace qx {
namespace {

// A task of four choices; right[i] decides item i. Right items choose the gold index, wrong ones
// the next.
TaskResults task_of(const std::string& name, const std::vector<bool>& right) {
  TaskResults task{name, "acc_norm", {}};
  for (std::size_t i = 0; i < right.size(); ++i) {
    const int gold = static_cast<int>(i % 4);
    task.items.push_back({static_cast<std::int64_t>(i), "h" + std::to_string(i), gold,
                          right[i] ? gold : (gold + 1) % 4, 4, right[i]});
  }
  return task;
}

std::vector<bool> pattern(std::size_t n, std::size_t right, std::size_t shift = 0) {
  std::vector<bool> out(n);
  for (std::size_t i = 0; i < n; ++i) out[(i + shift) % n] = i < right;
  return out;
}

RunResults run_of(const std::string& name, const std::vector<TaskResults>& tasks,
                  std::int64_t bytes = 100) {
  RunResults run{name, {}, bytes, 4.0};
  for (const TaskResults& t : tasks) run.tasks[t.task] = t;
  return run;
}

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

TEST(Compare, NeedsTwoRunsOfDifferentNames) {
  const auto a = run_of("a", {task_of("piqa", pattern(10, 5))});
  EXPECT_THROW(compare_runs({a}, {}), UsageError);
  EXPECT_THROW(compare_runs({a, a}, {}), UsageError);
  const auto b = run_of("b", {task_of("boolq", pattern(10, 5))});
  EXPECT_THROW(compare_runs({a, b}, {}), Error);
}

TEST(Recommend, NothingDecidedIsSaidAndTheSmallestIsNamed) {
  const auto base = run_of("base", {task_of("piqa", pattern(100, 60))}, 269);
  const auto q4 = run_of("q4-hi", {task_of("piqa", pattern(100, 60, 2))}, 84);
  const auto qx = run_of("qx63-hi", {task_of("piqa", pattern(100, 60, 1))}, 81);
  const Comparison c = compare_runs({base, q4, qx}, {});
  const auto r = recommend(c);
  EXPECT_EQ(r[0].choice, std::nullopt);
  EXPECT_EQ(r[1].choice, "qx63-hi");
  EXPECT_EQ(c.between_variants.size(), 1u);
  const std::string text = paragraph(c);
  EXPECT_NE(text.find("do not decide between q4-hi and qx63-hi"), std::string::npos) << text;
  EXPECT_EQ(text.find("better"), std::string::npos) << text;
  EXPECT_EQ(text.find("worse"), std::string::npos) << text;
}

TEST(Recommend, TheVariantAheadIsChosen) {
  const auto base = run_of("base", {task_of("piqa", pattern(400, 300))}, 269);
  const auto q4 = run_of("q4-hi", {task_of("piqa", pattern(400, 280))}, 84);
  const auto qx = run_of("q2", {task_of("piqa", pattern(400, 180))}, 81);
  const Comparison c = compare_runs({base, q4, qx}, {});
  EXPECT_EQ(recommend(c)[0].choice, "q4-hi");
  EXPECT_NE(paragraph(c).find("Choose q4-hi"), std::string::npos) << paragraph(c);
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
    const Comparison c = compare_runs({run_of("a", a), run_of("b", b)}, {});
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
  EXPECT_NE(text.find("0.6000 ±0.0492"), std::string::npos) << text;
  EXPECT_NE(text.find("-0.2000"), std::string::npos) << text;
  EXPECT_NE(text.find("-33.3 %"), std::string::npos) << text;
}

}  // namespace
}  // namespace qx
