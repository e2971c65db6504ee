// SPDX-License-Identifier: Apache-2.0
#include "audit/score_tests.h"

#include <gtest/gtest.h>

#include <cmath>

namespace qx {
namespace {

// The published table of an 8B model in two quantizations, with what its figures allow to say: two-proportion
// tests with the public sizes, worked out independently.
constexpr std::string_view kCard = R"(Task	      qx63-hi	q4-hi	Difference
ARC Challenge	0.396	0.390	+0.006
ARC Easy	    0.429	0.436	-0.007
BoolQ	        0.622	0.622	0.000
Hellaswag	    0.611	0.632	-0.021
OpenBookQA	    0.346	0.348	-0.002
PIQA	        0.738	0.754	-0.016
Winogrande	    0.649	0.639	+0.010
)";

struct Row {
  const char* task;
  int items;
  double relative, z, p;
};

TEST(TwoProportions, PublishedCard) {
  const auto tables = find_score_tables(split_text_lines(kCard));
  ASSERT_EQ(tables.size(), 1u);
  const TableTests tests = test_table(tables[0]);
  const Row rows[] = {
      {"arc_challenge", 7, 1.5, 0.30, 0.77},
      {"arc_easy", -17, -1.6, -0.49, 0.63},
      {"boolq", 0, 0, 0, 1},
      {"hellaswag", -211, -3.3, -3.07, 0.002},
      {"openbookqa", -1, -0.6, -0.07, 0.95},
      {"piqa", -29, -2.1, -1.11, 0.27},
      {"winogrande", 13, 1.6, 0.53, 0.60},
  };
  ASSERT_EQ(tests.tests.size(), 7u);
  for (std::size_t i = 0; i < 7; ++i) {
    const ScoreTest& t = tests.tests[i];
    EXPECT_EQ(tables[0].rows[t.row].task, rows[i].task);
    EXPECT_EQ(std::llround(t.diff * static_cast<double>(t.n)), rows[i].items) << rows[i].task;
    EXPECT_NEAR(*t.relative * 100, rows[i].relative, 0.05) << rows[i].task;
    EXPECT_NEAR(t.z, rows[i].z, 0.005) << rows[i].task;
    EXPECT_NEAR(t.p, rows[i].p, rows[i].p < 0.01 ? 0.0005 : 0.005) << rows[i].task;
    EXPECT_EQ(t.p_holm < 0.05, rows[i].task == std::string("hellaswag"));
  }
  EXPECT_NEAR(tests.find(3, 0, 1)->p_holm, 0.015, 0.0005);
  EXPECT_TRUE(tests.no_information(2, 0) && tests.no_information(2, 1));
  EXPECT_FALSE(tests.no_information(0, 0));
  EXPECT_EQ(tests.find_average(0, 1)->tasks, 6);
}

TEST(TwoProportions, TurnsWithTheRoles) {
  const auto tables = find_score_tables(split_text_lines(kCard));
  const TableTests tests = test_table(tables[0]);
  EXPECT_DOUBLE_EQ(tests.find(3, 1, 0)->diff, 0.632 - 0.611);
  EXPECT_NEAR(*tests.find(3, 1, 0)->relative, 0.021 / 0.611, 1e-12);
  EXPECT_FALSE(tests.find(9, 0, 1).has_value());
}

TEST(TwoProportions, EqualAndExtremeScoresGiveNumbers) {
  const auto tables = find_score_tables(
      split_text_lines("| t | a | b |\n|-|-|-|\n| piqa | 0 | 1 |\n| copa | 1 | 1 |\n"));
  const TableTests tests = test_table(tables[0]);
  for (const ScoreTest& t : tests.tests) {
    EXPECT_TRUE(std::isfinite(t.z) && std::isfinite(t.p) && t.p <= 1);
  }
}

}  // namespace
}  // namespace qx
