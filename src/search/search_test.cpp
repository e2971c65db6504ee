// SPDX-License-Identifier: Apache-2.0
#include "search/search.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "io/test_files.h"
#include "search/test_sensitivity.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
using testing_files::error_of;

PlanMeasure measure_of(std::vector<double> windows) {
  PlanMeasure m;
  for (const double kl : windows) m.kl += kl / static_cast<double>(windows.size());
  m.kl_windows = std::move(windows);
  return m;
}

TEST(PickCandidate, OnlyWhatIsBetterBeyondItsError) {
  const PlanMeasure first = measure_of({1.0, 2.0, 3.0});
  // Always a little better; better on the mean by one lucky window; worse.
  const PlanMeasure steady = measure_of({0.9, 1.9, 2.9});
  const PlanMeasure lucky = measure_of({1.5, 2.5, 1.0});
  const PlanMeasure worse = measure_of({1.1, 2.1, 3.1});
  const auto pick = [](std::vector<PlanMeasure> all) { return pick_candidate(all); };
  EXPECT_EQ(pick({first}), 0U);
  EXPECT_EQ(pick({first, worse}), 0U);
  EXPECT_EQ(pick({first, lucky}), 0U);
  EXPECT_EQ(pick({first, lucky, steady, worse}), 2U);
  EXPECT_EQ(pick({measure_of({1.0}), measure_of({0.9})}), 1U);  // one window: no error to judge by
}

TEST(SearchPlan, CurveRisesAndFalls) {
  const ModelConfig config = parse_model_config(tiny_config({.family = "llama"}), "test");
  const PlanSpace space(config, made_up_sensitivity(config), {}, "s.json");
  SearchSettings settings;
  settings.budget = "4bpw";
  settings.budget_bytes = (space.smallest() + space.largest()) / 2;
  const SearchFound found = search_plan(space, config, settings, nullptr);
  EXPECT_LE(found.best.plan.tensor_bytes, settings.budget_bytes);
  ASSERT_GT(found.curve.size(), 20U);
  EXPECT_EQ(found.curve.front().bytes, space.smallest());
  for (std::size_t i = 1; i < found.curve.size(); ++i) {
    EXPECT_GT(found.curve[i].bytes, found.curve[i - 1].bytes);
    EXPECT_LT(found.curve[i].predicted, found.curve[i - 1].predicted);
  }
  // Recipes to compare with are resolved first.
  for (const auto& [recipe, text] : {std::pair("q7", "q7"), std::pair("f16", "--compare f16")}) {
    settings.compare = {"q4-hi", recipe};
    try {
      search_plan(space, config, settings, nullptr);
      ADD_FAILURE() << "expected an error";
    } catch (const UsageError& e) {
      EXPECT_NE(std::string(e.what()).find(text), std::string::npos) << e.what();
    }
  }
  settings.compare.clear();
  settings.budget_bytes = space.smallest() - 1;
  const std::string error = error_of([&] { search_plan(space, config, settings, nullptr); });
  EXPECT_NE(error.find(std::to_string(space.smallest())), std::string::npos) << error;
}

TEST(Scalings, AreDistinctAndTheFirstChangesNothing) {
  const auto all = scalings_to_try();
  EXPECT_EQ(all[0].embedding * all[0].attention * all[0].first * all[0].last * all[0].wide_groups *
                all[0].few_bits,
            1.0);
  std::set<std::string> names;
  for (const CostScaling& s : all) EXPECT_TRUE(names.insert(s.name).second) << s.name;
}

}  // namespace
}  // namespace qx
