// What is compared at the edges: sensible words, and no number that is none.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

#include "base/error.h"
#include "compare/groups.h"
#include "compare/recommend.h"
#include "compare/render.h"
#include "compare/test_runs.h"
#include "compare/words.h"

namespace qx {
namespace {

using test::pattern;
using test::run_of;
using test::task_of;

// NaN and infinity as fmt writes them.
bool holds_no_number(const std::string& text) {
  return std::regex_search(text, std::regex("\\b(nan|inf)\\b"));
}

void expect_no_nan(const Json& json, const std::string& at) {
  if (json.is_number_float()) {
    EXPECT_TRUE(std::isfinite(json.get<double>())) << at;
  } else if (json.is_string()) {
    const std::string text = json.get<std::string>();
    EXPECT_FALSE(holds_no_number(text)) << at << ": " << text;
  } else if (json.is_structured()) {
    for (const auto& [key, value] : json.items()) expect_no_nan(value, at + "/" + key);
  }
}

void expect_finite(const Interval& i) {
  EXPECT_TRUE(-1 <= i.low && i.low <= i.high && i.high <= 1) << i.low << " " << i.high;
}

// Everything that is said about a comparison, checked on the way.
std::string all_words(const Comparison& c) {
  expect_no_nan(render_json(c), "");
  std::string words = render_text(c) + paragraph(c) + groups_sentence(c);
  for (const auto* list : {&c.against_baseline, &c.between_variants}) {
    for (const PairSummary& pair : *list) {
      words += pair_sentence(c, pair) + average_sentence(c, pair);
      for (std::size_t t = 0; t < c.tasks.size(); ++t) {
        const Difference& d = pair.tasks[t];
        words += task_sentence(c, pair, t);
        expect_finite(d.interval);
        expect_finite(d.score_interval);
        for (const double p : {d.p, d.p_holm, d.p_mid, d.p_equivalence, d.p_equivalence_holm}) {
          EXPECT_TRUE(p >= 0 && p <= 1) << p;
        }
        EXPECT_GE(d.items_needed.value_or(1), 1);
      }
      if (pair.average) expect_finite(pair.average->interval);
    }
  }
  for (const Recommendation& r : recommend(c)) words += r.use + ": " + r.because + ".";
  EXPECT_FALSE(holds_no_number(words)) << words;
  return words;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// bench.json and divergence.json may come from anywhere.
TEST(Edges, MeasurementsCannotMoveTheCursor) {
  const std::string odd = "x\x1b[2J\xe2\x80\xaey";
  const auto run = [&](const std::string& name, int threads) {
    RunResults r = run_of(name, {task_of("piqa", pattern(100, 60))});
    r.speed = SpeedFacts{};
    r.speed->decode_tps = 10;
    r.speed->threads = threads;
    r.speed->cpu = r.speed->isa = r.speed->precision = odd;
    r.distance = DistanceFacts{};
    r.distance->base = odd;
    return r;
  };
  ComparedRuns compared;
  compared.baseline = "a";
  compared.paired = compare_runs({run("a", 1), run("b", 2)}, {});
  for (const std::string& text : {render_text(compared, {}), render_markdown(compared),
                                  render_html(compared), render_csv(compared)}) {
    EXPECT_FALSE(has(text, "\x1b")) << text;
    EXPECT_FALSE(has(text, "\xe2\x80\xae")) << text;
  }
  const std::string shown = render_text(compared, {});
  EXPECT_TRUE(has(shown, "measured under different conditions")) << shown;
  EXPECT_TRUE(has(shown, "x\\x1b[2J\\u{202e}y")) << shown;
}

TEST(Edges, ARunWithItselfIsRefusedByName) {
  const auto a = run_of("a", {task_of("piqa", pattern(10, 5))});
  EXPECT_THROW(compare_runs({a, a}, {}), UsageError);
}

TEST(Edges, ACopyIsEquivalentWhereItemsSuffice) {
  const auto copies = [](std::size_t n) {
    const auto task = task_of("piqa", pattern(n, n / 2));
    return compare_runs({run_of("a", {task}), run_of("copy", {task})}, {});
  };
  const std::string few = all_words(copies(100));
  EXPECT_TRUE(has(few, "indistinguishable")) << few;
  EXPECT_FALSE(has(few, "better") || has(few, "worse") || has(few, "equivalent to a within"))
      << few;
  const Comparison many = copies(300);
  EXPECT_EQ(many.against_baseline[0].tasks[0].verdict, Verdict::kEquivalent);
  EXPECT_TRUE(has(all_words(many), "copy is equivalent to a within 1 point"));
  EXPECT_TRUE(has(all_words(many), "By score it does not matter which of a and copy one takes"));
}

TEST(Edges, OneItemChanged) {
  auto task = task_of("piqa", pattern(1000, 500));
  const auto a = run_of("a", {task});
  task.items[0].right = false;
  task.items[0].chosen = 3;
  const Comparison c = compare_runs({a, run_of("b", {task})}, {});
  EXPECT_EQ(c.against_baseline[0].tasks[0].counts.right_to_wrong, 1);
  EXPECT_EQ(c.against_baseline[0].tasks[0].verdict, Verdict::kEquivalent);
  const std::string words = all_words(c);
  EXPECT_FALSE(has(words, "worse")) << words;
}

TEST(Edges, DisjointItemsCannotBeCompared) {
  const auto a = task_of("piqa", pattern(10, 5));
  auto b = a;
  for (ItemResult& item : b.items) item.index += 10;
  EXPECT_THROW(compare_runs({run_of("a", {a}), run_of("b", {b})}, {}), Error);
}

TEST(Edges, OneItem) {
  for (const std::size_t right : {0u, 1u}) {
    const Comparison c = compare_runs({run_of("a", {task_of("piqa", pattern(1, 1))}),
                                       run_of("b", {task_of("piqa", pattern(1, right))})},
                                      {});
    EXPECT_EQ(c.against_baseline[0].tasks[0].verdict, Verdict::kIndistinguishable);
    EXPECT_FALSE(c.against_baseline[0].average);
    const std::string words = all_words(c);
    EXPECT_FALSE(has(words, "better") || has(words, "worse")) << words;
  }
}

TEST(Edges, AllRightAndAllWrong) {
  const auto run = [](const std::string& name, std::size_t right) {
    return run_of(name,
                  {task_of("piqa", pattern(300, right)), task_of("boolq", pattern(300, right))});
  };
  const Comparison c = compare_runs({run("right", 300), run("wrong", 0)}, {});
  EXPECT_EQ(c.against_baseline[0].tasks[0].verdict, Verdict::kWorse);
  EXPECT_EQ(c.against_baseline[0].average->verdict, Verdict::kWorse);
  EXPECT_EQ(c.against_baseline[0].average->difference, -1);
  EXPECT_TRUE(has(all_words(c), "worse on boolq (-100.0 points"));
  const Comparison from_zero = compare_runs({run("wrong", 0), run("right", 300)}, {});
  EXPECT_FALSE(from_zero.against_baseline[0].tasks[0].relative);
  EXPECT_TRUE(has(all_words(from_zero), "better on boolq (+100.0 points"));
  all_words(compare_runs({run("right", 300), run("also", 300)}, {}));
  all_words(compare_runs({run("wrong", 0), run("also", 0)}, {}));
}

TEST(Edges, OnePassageForEverything) {
  auto a = task_of("boolq", pattern(50, 40)), b = task_of("boolq", pattern(50, 10));
  for (ItemResult& item : a.items) item.cluster = "p";
  const Comparison c = compare_runs({run_of("a", {a}), run_of("b", {b})}, {});
  EXPECT_EQ(c.against_baseline[0].tasks[0].clusters, 1);
  EXPECT_EQ(c.against_baseline[0].tasks[0].p, 1);
  const std::string words = all_words(c);
  EXPECT_FALSE(has(words, "worse")) << words;
}

TEST(Edges, MarginsThatAreNotNumbers) {
  auto a = task_of("piqa", pattern(50, 40)), b = task_of("piqa", pattern(50, 35));
  for (ItemResult& item : b.items) item.margin = std::nan("");
  a.items[0].margin = -std::numeric_limits<double>::infinity();
  const Comparison c = compare_runs({run_of("a", {a}), run_of("b", {b})}, {});
  EXPECT_FALSE(c.against_baseline[0].tasks[0].margin_shift);
  all_words(c);
}

}  // namespace
}  // namespace qx
