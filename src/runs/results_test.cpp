// Accuracies and their layout.
// SPDX-License-Identifier: Apache-2.0
#include "runs/results.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "runs/answer_log.h"

namespace qx {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(Results, FirstArgmaxIsNumpys) {
  EXPECT_EQ(first_argmax({-2, -1, -1}), 1u);
  EXPECT_EQ(first_argmax({-1, kNan, 5, kNan}), 1u);
  EXPECT_EQ(first_argmax({-kInf, -kInf}), 0u);
  EXPECT_EQ(first_argmax({0}), 0u);
}

TEST(Results, NormalizationDividesByCodePointsAndBytes) {
  // "éé" is 2 characters and 4 bytes.
  const std::vector<ChoiceAnswer> choices = {{-4.0, 1, 2, 4, false}, {-3.0, 1, 2, 2, false}};
  EXPECT_EQ(picked_by_ll(choices), 1u);
  EXPECT_EQ(picked_by_ll_per_char(choices), 1u);
  EXPECT_EQ(picked_by_ll_per_byte(choices), 0u);
  EXPECT_EQ(picked_by_ll_per_token({{-4.0, 4, 1, 1, false}, {-3.0, 2, 1, 1, false}}), 0u);
  // A choice of no characters gives 0/0 only when ll is 0; else minus infinity.
  const std::vector<ChoiceAnswer> empty = {{-4.0, 1, 0, 0, false}, {-9.0, 1, 1, 1, false}};
  EXPECT_EQ(picked_by_ll_per_char(empty), 1u);
}

TEST(Results, PickedChoiceByName) {
  // ll / chars, / bytes and / tokens each pick another one.
  const std::vector<ChoiceAnswer> choices = {{-4.0, 2, 2, 2, false},
                                             {-5.0, 2, 10, 2, false},
                                             {-6.0, 2, 2, 20, false},
                                             {-7.0, 40, 2, 2, false}};
  const char* names[] = {"acc", "acc_norm", "acc_bytes", "acc_token"};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(picked_choice(choices, names[i]), i);
  EXPECT_THROW(picked_choice(choices, "f1"), InternalError);
  Answer cloze;
  cloze.choices = {{-4.0, 2, 2, 2, true}};
  EXPECT_TRUE(is_right(cloze, "acc"));
  cloze.choices[0].greedy = false;
  EXPECT_FALSE(is_right(cloze, "acc"));
}

std::vector<Answer> answers(int right, int n) {
  std::vector<Answer> list;
  for (int i = 0; i < n; ++i) {
    Answer a;
    a.index = i;
    a.acc = i < right ? 1 : 0;
    a.acc_norm = 1 - a.acc;
    a.choices = {{-1, 1, 1, 1, false}, {-2, 1, 1, 1, false}};
    a.gold = a.acc == 1 ? 0 : 1;
    list.push_back(a);
  }
  return list;
}

TEST(Results, StandardErrorIsLmEvals) {
  const TaskResult r = summarize(*find_task("arc_challenge"), answers(600, 1172));
  EXPECT_NEAR(r.acc.standard_error.value(), 0.0146072203405972, 1e-13);
  EXPECT_EQ(r.acc.mean, 600.0 / 1172);
  EXPECT_EQ(r.acc_norm.value().mean, 572.0 / 1172);
  EXPECT_EQ(r.acc_bytes.value().mean, 600.0 / 1172);
}

TEST(Results, LayoutIsLmEvals) {
  TaskResult r = summarize(*find_task("arc_easy"), answers(1, 2));
  r.rows = 9;
  const TaskResult one = summarize(*find_task("boolq"), answers(1, 1));
  const TaskResult both[] = {r, one};
  const Json json = results_json(both);
  const Json& arc = json["results"]["arc_easy"];
  EXPECT_EQ(arc["alias"], "arc_easy");
  EXPECT_EQ(arc["sample_len"], 2);
  EXPECT_EQ(arc["acc,none"], 0.5);
  EXPECT_EQ(arc["acc_stderr,none"], 0.5);
  EXPECT_EQ(arc["acc_norm,none"], 0.5);
  EXPECT_TRUE(arc.contains("acc_norm_stderr,none"));
  EXPECT_EQ(json["n-samples"]["arc_easy"]["original"], 9);
  EXPECT_EQ(json["n-samples"]["arc_easy"]["effective"], 2);
  EXPECT_EQ(json["results"]["boolq"]["acc_stderr,none"], "N/A");
  EXPECT_FALSE(json["results"]["boolq"].contains("acc_norm,none"));
  EXPECT_EQ(json["versions"]["boolq"], 2.0);
}

TEST(Results, Table) {
  const TaskResult arc = summarize(*find_task("arc_easy"), answers(1, 2));
  const TaskResult boolq = summarize(*find_task("boolq"), answers(1, 1));
  const NamedResults models[] = {{"base", {arc, boolq}}, {"q4", {arc, boolq}}};
  EXPECT_EQ(results_table(models),
            "task           n  model  acc              acc_norm         acc_bytes  acc_token\n"
            "arc_easy       2  base   0.5000 ± 0.5000  0.5000 ± 0.5000  0.5000     0.5000\n"
            "arc_easy       2  q4     0.5000 ± 0.5000  0.5000 ± 0.5000  0.5000     0.5000\n"
            "boolq          1  base   1.0000\n"
            "boolq          1  q4     1.0000\n");
}

}  // namespace
}  // namespace qx
