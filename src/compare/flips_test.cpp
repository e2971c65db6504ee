// SPDX-License-Identifier: Apache-2.0
#include "compare/flips.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace qx {
namespace {

ItemResult item(std::int64_t index, int gold, int chosen, double margin) {
  return {index, "h" + std::to_string(index), gold, chosen, 4, chosen == gold, margin};
}

RunResults run(const std::string& name, std::vector<ItemResult> items) {
  RunResults r;
  r.name = name;
  r.tasks["piqa"] = {"piqa", "acc", std::move(items)};
  return r;
}

TEST(Flips, EveryKindIsFoundAndTheLargestMoveComesFirst) {
  const RunResults base = run("base", {item(0, 1, 1, 2.0), item(1, 1, 0, -0.5), item(2, 1, 0, -1),
                                       item(3, 1, 0, -1), item(5, 1, 1, 0.25)});
  const RunResults q4 = run("q4", {item(0, 1, 0, -1.0), item(1, 1, 1, 0.5), item(2, 1, 3, -5.5),
                                   item(3, 1, 0, -2), item(4, 1, 1, 9), item(5, 1, 1, 0.125)});
  const auto all = all_flips({base, q4}, 0, "");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].items, 5);
  const std::vector<Flip>& flips = all[0].flips;
  ASSERT_EQ(flips.size(), 3u);
  EXPECT_EQ(flips[0].index, 2);  // moved by -4.5
  EXPECT_EQ(flips[0].kind, FlipKind::kChanged);
  EXPECT_EQ(flips[1].index, 0);  // by -3
  EXPECT_EQ(flips[1].kind, FlipKind::kRightToWrong);
  EXPECT_EQ(flips[1].from, 1);
  EXPECT_EQ(flips[1].to, 0);
  EXPECT_EQ(flips[2].index, 1);  // by +1
  EXPECT_EQ(flips[2].kind, FlipKind::kWrongToRight);
  EXPECT_EQ(flips[2].move(), 1.0);

  const Comparison comparison = compare_runs({base, q4}, {});
  EXPECT_EQ(comparison.against_baseline[0].tasks[0].changed, 1);
  const Json json = flips_json(all);
  EXPECT_EQ(json[0]["flips"][0]["kind"], "changed");
  EXPECT_EQ(json[0]["flips"][0]["doc_hash"], "h2");
  EXPECT_NE(flips_text(all).find("3 of 5 items"), std::string::npos) << flips_text(all);
}

TEST(Flips, MarginsThatAreNoNumbersComeLastAndAreNull) {
  const double inf = std::numeric_limits<double>::infinity();
  const RunResults base = run("base", {item(0, 1, 0, std::nan("")), item(1, 1, 1, 0.5)});
  const RunResults q4 = run("q4", {item(0, 1, 1, inf), item(1, 1, 0, -0.5)});
  const auto all = all_flips({base, q4}, 0, "piqa");
  ASSERT_EQ(all[0].flips.size(), 2u);
  EXPECT_EQ(all[0].flips[0].index, 1);
  EXPECT_TRUE(flips_json(all)[0]["flips"][1]["margin_from"].is_null());
}

TEST(Flips, OtherQuestionsAndUnknownTasksAreErrors) {
  const RunResults base = run("base", {item(0, 1, 1, 2.0)});
  RunResults other = run("other", {item(0, 1, 0, 2.0)});
  EXPECT_THROW(all_flips({base, other}, 0, "boolq"), UsageError);
  other.tasks["piqa"].items[0].doc_hash = "x";
  EXPECT_THROW(all_flips({base, other}, 0, ""), Error);
}

}  // namespace
}  // namespace qx
