// SPDX-License-Identifier: Apache-2.0
#include "compare/gate.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "compare/junit.h"

namespace qx {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(ParseGate, ReadsEveryPart) {
  const Gate task = parse_gate("hellaswag>-0.01");
  EXPECT_EQ(task.subject, "hellaswag");
  EXPECT_TRUE(task.above);
  EXPECT_FALSE(task.or_equal);
  EXPECT_EQ(task.limit, -0.01);
  const Gate spaced = parse_gate("  q4-hi:average >= -5e-3 ");
  EXPECT_EQ(spaced.text, "q4-hi:average >= -5e-3");
  EXPECT_EQ(spaced.subject, "q4-hi:average");
  EXPECT_TRUE(spaced.or_equal);
  EXPECT_EQ(spaced.limit, -0.005);
  const Gate below = parse_gate("kl_mean<=.05");
  EXPECT_FALSE(below.above);
  EXPECT_TRUE(below.or_equal);
  EXPECT_EQ(below.limit, 0.05);
  // Names may hold the operators; the limit does not.
  EXPECT_EQ(parse_gate("a>b:c<d>0").subject, "a>b:c<d");
}

TEST(ParseGate, RefusesTheRest) {
  for (const char* text : {"", "  ", "hellaswag", ">0.1", "hellaswag>",
                           "hellaswag>=", "hellaswag>nan", "a>inf", "a>0x1", "a>1e999", "a>-1e999",
                           "a>1 2", "a>--1", "a>1e", "a>.", "a>0.01%", "a=0.01", "a>0,01"}) {
    EXPECT_THROW(parse_gate(text), UsageError) << text;
  }
  EXPECT_THROW(parse_gate(std::string(2000, 'a') + ">0"), UsageError);
  try {
    parse_gate("hellaswag=0.01");
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("'hellaswag=0.01'"), std::string::npos) << e.what();
  }
}

// base, q4 and q2, with two tasks; intervals are given, so that nothing but the gates is tested.
Comparison comparison() {
  Comparison c;
  for (const char* name : {"base", "q4", "q2"}) {
    c.runs.emplace_back();
    c.runs.back().name = name;
  }
  for (const char* task : {"hellaswag", "piqa"}) {
    c.tasks.emplace_back();
    c.tasks.back().task = task;
  }
  for (std::size_t v = 1; v < 3; ++v) {
    PairSummary pair;
    pair.baseline = 0;
    pair.variant = v;
    for (int t = 0; t < 2; ++t) {
      Difference d;
      d.difference = v == 1 ? -0.002 : -0.02;
      d.interval = {d.difference - 0.005, d.difference + 0.005};
      pair.tasks.push_back(d);
    }
    AverageDifference average;
    average.difference = pair.tasks[0].difference;
    average.interval = {average.difference - 0.001, average.difference + 0.001};
    pair.average = average;
    pair.micro = average;
    c.against_baseline.push_back(pair);
  }
  return c;
}

std::vector<GateResult> check(const Comparison& c, const std::vector<std::string>& texts) {
  std::vector<Gate> gates;
  for (const std::string& text : texts) gates.push_back(parse_gate(text));
  return check_gates(&c, {}, gates);
}

TEST(CheckGates, TheBoundDecidesAndNotTheEstimate) {
  const Comparison c = comparison();
  const auto results = check(c, {"hellaswag>-0.01"});
  ASSERT_EQ(results.size(), 2u);  // each variant
  EXPECT_TRUE(results[0].held);   // -0.007
  EXPECT_NEAR(results[0].bound, -0.007, 1e-12);
  EXPECT_FALSE(results[1].held);
  // The estimate -0.002 keeps the limit, its lower bound does not.
  EXPECT_FALSE(check(c, {"q4:hellaswag>-0.005"})[0].held);
  // And the upper bound where the limit is above.
  EXPECT_FALSE(check(c, {"q4:hellaswag<0"})[0].held);
  EXPECT_TRUE(check(c, {"q2:hellaswag<0"})[0].held);
  EXPECT_TRUE(check(c, {"q4:average>-0.005"})[0].held);
  EXPECT_TRUE(check(c, {"q4:micro_average>-0.005"})[0].held);
  const std::string broken = broken_gates(results);
  EXPECT_EQ(broken,
            "1 of 2 gates does not hold\n"
            "  hellaswag of q2: lower 95 % bound -0.0250 (estimate -0.0200) is not > -0.01");
  EXPECT_EQ(broken_gates(check(c, {"average>-0.5"})), "");
}

TEST(CheckGates, TheLimitItselfIsKeptWithEqualOnly) {
  Comparison c = comparison();
  c.against_baseline[0].tasks[0].interval = {-0.25, 0.25};
  EXPECT_FALSE(check(c, {"q4:hellaswag>-0.25"})[0].held);
  EXPECT_TRUE(check(c, {"q4:hellaswag>=-0.25"})[0].held);
  EXPECT_FALSE(check(c, {"q4:hellaswag<0.25"})[0].held);
  EXPECT_TRUE(check(c, {"q4:hellaswag<=0.25"})[0].held);
}

TEST(CheckGates, AnAverageDoesNotHideACollapse) {
  Comparison c = comparison();
  c.tasks[0].informative = false;
  EXPECT_TRUE(check(c, {"q4:average>-0.005"})[0].held);
  c.against_baseline[0].tasks[0].verdict = Verdict::kWorse;
  for (const char* gate : {"q4:average>-0.005", "q4:micro_average>=-0.005"}) {
    const GateResult result = check(c, {gate})[0];
    EXPECT_FALSE(result.held) << gate;
    EXPECT_NE(result.reason.find(", but q4 is worse on hellaswag, which the average leaves out"),
              std::string::npos)
        << result.reason;
    EXPECT_NEAR(result.bound, -0.003, 1e-12);
  }
  EXPECT_TRUE(check(c, {"q4:average<0.005"})[0].held);  // asks for no more than that
  EXPECT_TRUE(check(c, {"q4:piqa>-0.01"})[0].held);
  EXPECT_TRUE(check(c, {"q2:average>-0.05"})[0].held);
  c.tasks[0].informative = true;  // then the average knows of it
  EXPECT_TRUE(check(c, {"q4:average>-0.005"})[0].held);
}

TEST(CheckGates, WithoutABoundAGateDoesNotHold) {
  Comparison c = comparison();
  c.against_baseline[0].average.reset();
  c.against_baseline[0].tasks[0].interval = {kNaN, kNaN};
  EXPECT_FALSE(check(c, {"q4:average>-0.9"})[0].held);
  const auto results = check(c, {"q4:hellaswag<0.9"});
  EXPECT_FALSE(results[0].held);
  EXPECT_EQ(results[0].reason.find("nan"), std::string::npos) << results[0].reason;
}

TEST(CheckGates, UnknownNamesAndLimitsAreUsageErrors) {
  const Comparison c = comparison();
  for (const char* text : {"boolq>0", "q8:piqa>0", "base:piqa>0", "q4:boolq>0", "q4>0", "piqa>-1",
                           "piqa<1.5", "kl_mean<-1", "top1_agreement>1.1", "Average>0"}) {
    EXPECT_THROW(check(c, {text}), UsageError) << text;
  }
  try {
    check(c, {"boolq>0"});
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("hellaswag, piqa"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("q4, q2"), std::string::npos) << e.what();
  }
}

TEST(CheckGates, NamesWithColonsAreFound) {
  Comparison c = comparison();
  c.runs[1].name = "a:b";
  c.tasks[1].task = "x:y";
  EXPECT_EQ(check(c, {"a:b:x:y>-0.5"})[0].variant, "a:b");
  EXPECT_EQ(check(c, {"x:y>-0.5"}).size(), 2u);
}

TEST(CheckGates, DistanceIsJudgedByItsUpperBound) {
  Comparison c = comparison();
  EXPECT_THROW(check(c, {"kl_mean<0.05"}), Error);  // qx divergence was not run
  DistanceFacts d;
  d.kl_mean = 0.04;
  d.kl_stderr = 0.004;
  d.top1_agreement = 0.9;
  d.tokens = 1000;
  c.runs[1].distance = d;
  EXPECT_TRUE(check(c, {"q4:kl_mean<0.05"})[0].held);  // 0.0478
  EXPECT_FALSE(check(c, {"q4:kl_mean<0.045"})[0].held);
  EXPECT_NEAR(check(c, {"q4:kl_mean<0.05"})[0].bound, 0.04 + 1.95996 * 0.004, 1e-6);
  EXPECT_TRUE(check(c, {"q4:top1_agreement>0.87"})[0].held);  // 0.8799
  EXPECT_FALSE(check(c, {"q4:top1_agreement>0.89"})[0].held);
}

TEST(CheckGates, RunsWithoutAnswersPerItemAreCheckedToo) {
  UnpairedPair pair{"base", "theirs", {}, {}};
  UnpairedTask task;
  task.task = "piqa";
  task.difference = -0.01;
  task.interval = {-0.05, 0.03};
  pair.tasks.push_back(task);
  const Comparison c = comparison();
  const auto results = check_gates(&c, {pair}, {parse_gate("piqa>-0.04")});
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[2].variant, "theirs");
  EXPECT_FALSE(results[2].held);
  EXPECT_THROW(check_gates(&c, {pair}, {parse_gate("average>-0.04")}), Error);
  EXPECT_EQ(check_gates(nullptr, {pair}, {parse_gate("piqa>-0.06")}).size(), 1u);
}

TEST(Junit, EscapesAndCounts) {
  GateResult held, broken;
  held.variant = "a<b";
  held.gate = "piqa>-0.01";
  held.held = true;
  held.reason = "fine & \"good\"";
  broken.variant = "c\x01\xff";
  broken.gate = "piqa>0";
  broken.reason = "it's not";
  EXPECT_EQ(
      junit_xml({held, broken}, "base"),
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuites name=\"qx compare\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\">\n"
      "  <testsuite name=\"gates against base\" tests=\"2\" failures=\"1\" errors=\"0\" "
      "skipped=\"0\">\n"
      "    <testcase classname=\"qx.compare.a&lt;b\" name=\"piqa&gt;-0.01\">\n"
      "      <system-out>fine &amp; &quot;good&quot;</system-out>\n"
      "    </testcase>\n"
      "    <testcase classname=\"qx.compare.c\\x01\\xff\" name=\"piqa&gt;0\">\n"
      "      <failure message=\"it&#39;s not\" type=\"gate\">it&#39;s not</failure>\n"
      "    </testcase>\n"
      "  </testsuite>\n</testsuites>\n");
}

TEST(Junit, WhatXmlCannotHoldIsMadeVisible) {
  for (const char* text : {"\x01\x02", "\x0b", "\x7f", "\xc2\x85", "\xef\xbf\xbe", "\xef\xbf\xbf",
                           "\xed\xa0\x80", "\x80", "\xf4\x90\x80\x80"}) {
    const std::string safe = escape_xml(text);
    for (const char c : safe) EXPECT_TRUE(c >= ' ' && c < 0x7f) << safe;
  }
  EXPECT_EQ(escape_xml("日本 ±"), "日本 ±");
}

}  // namespace
}  // namespace qx
