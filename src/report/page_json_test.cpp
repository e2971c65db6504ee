// SPDX-License-Identifier: Apache-2.0
#include "report/page_json.h"

#include <gtest/gtest.h>

#include <cmath>

namespace qx {
namespace {

RunResults run(const std::string& name, int n, int wrong_from) {
  RunResults results;
  results.name = name;
  TaskResults& task = results.tasks["arc_easy"];
  task.task = "arc_easy";
  task.metric = "acc";
  for (int i = 0; i < n; ++i) {
    ItemResult item;
    item.index = i;
    item.doc_hash = std::to_string(i);
    item.gold = i % 4;
    item.right = i < wrong_from;
    item.chosen = item.right ? item.gold : (item.gold + 1) % 4;
    item.choices = 4;
    item.margin = item.right ? 0.5 : -0.5;
    task.items.push_back(item);
  }
  return results;
}

ReportPage page_of(int n) {
  ReportPage page;
  page.comparison = compare_runs({run("base", n, n), run("q4", n, n / 2)}, CompareSettings{});
  page.matrix = verdict_matrix(page.comparison);
  page.groups = find_groups(page.comparison);
  return page;
}

// Every number of a page is finite, whatever the counts were: JSON has no NaN, and null is written
// for one.
void expect_no_nan(const Json& json) {
  if (json.is_number_float()) {
    EXPECT_TRUE(std::isfinite(json.get<double>()));
  }
  if (json.is_structured()) {
    for (const Json& member : json) expect_no_nan(member);
  }
}

TEST(PageJson, SaysWhatTheComparisonSays) {
  const Json json = page_json(page_of(100));
  EXPECT_EQ(json.at("runs").size(), 2u);
  EXPECT_EQ(json.at("tasks")[0].at("scores")[1].at("acc"), 0.5);
  EXPECT_EQ(json.at("pairs")[0].at("tasks")[0].at("verdict"), "worse");
  EXPECT_EQ(json.at("pairs")[0].at("tasks")[0].at("right_to_wrong"), 50);
  EXPECT_EQ(json.at("matrix")[1][0], "worse");
  EXPECT_TRUE(json.at("matrix")[0][0].is_null());
  expect_no_nan(json);
}

TEST(PageJson, OneItemGivesNoNan) {
  const ReportPage page = page_of(1);
  const Json json = page_json(page);
  expect_no_nan(json);
  EXPECT_TRUE(json.at("tasks")[0].at("scores")[0].at("stderr").is_null());
  EXPECT_NO_THROW(parse_json(json.dump(), "page"));
}

TEST(PageJson, ChoicesThatWereCutAwayAreMinusInfinity) {
  ReportPage page = page_of(10);
  FlipList list;
  list.variant = "q4";
  list.flips.emplace_back();
  FlipToRead& flip = list.flips.back();
  flip.values_from = {-INFINITY, -1.23456789, 0, NAN};
  flip.flip.margin_from = NAN;
  page.flips.lists.push_back(list);
  const Json json = page_json(page).at("flips").at("lists")[0].at("flips")[0];
  EXPECT_EQ(json.at("values_from"), (Json{"-inf", -1.23457, 0, nullptr}));
  EXPECT_TRUE(json.at("margin_from").is_null());
}

}  // namespace
}  // namespace qx
