// Our formulas against scipy and statsmodels: tests/golden/statistics.json, which
// tests/golden/make_statistics.py writes (tests/parity runs it again).
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "stats/averages.h"
#include "stats/clusters.h"
#include "stats/equivalence.h"
#include "stats/resampling.h"
#include "stats/stats.h"

namespace qx {
namespace {

using nlohmann::json;

const json& golden() {
  static const json document = [] {
    std::ifstream file(QX_GOLDEN "/statistics.json");
    return json::parse(file);
  }();
  return document;
}

PairedCounts counts_of(const json& table) {
  return {table[0].get<std::int64_t>(), table[1].get<std::int64_t>(), table[2].get<std::int64_t>(),
          table[3].get<std::int64_t>()};
}

TEST(Golden, McNemar) {
  for (const json& c : golden()["tables"]) {
    const PairedCounts counts = counts_of(c["table"]);
    EXPECT_NEAR(mcnemar_exact(counts), c["exact"].get<double>(), 1e-12) << c["table"];
    EXPECT_NEAR(mcnemar_mid_p(counts), c["mid_p"].get<double>(), 1e-12) << c["table"];
  }
}

// The oracle finds the nuisance parameter numerically, to about 1e-8.
TEST(Golden, TangoAndEquivalence) {
  const double margin = golden()["margin"].get<double>();
  int compared = 0;
  for (const json& c : golden()["tables"]) {
    if (!c.contains("tango")) continue;
    const PairedCounts counts = counts_of(c["table"]);
    for (const json& point : c["tango"]) {
      EXPECT_NEAR(tango_statistic(counts, point[0].get<double>()), point[1].get<double>(), 2e-5)
          << c["table"] << point;
      ++compared;
    }
    EXPECT_NEAR(noninferiority_p(counts, margin), c["noninferiority"].get<double>(), 2e-6);
    EXPECT_NEAR(equivalence_p(counts, margin), c["equivalence"].get<double>(), 2e-6);
  }
  EXPECT_GT(compared, 30);
}

TEST(Golden, MultipleTests) {
  for (const json& c : golden()["multiple"]) {
    const auto p = c["p"].get<std::vector<double>>();
    const std::vector<double> holm = holm_adjust(p), bh = benjamini_hochberg_adjust(p);
    for (std::size_t i = 0; i < p.size(); ++i) {
      EXPECT_NEAR(holm[i], c["holm"][i].get<double>(), 1e-14);
      EXPECT_NEAR(bh[i], c["bh"][i].get<double>(), 1e-14);
    }
  }
}

TEST(Golden, Clusters) {
  for (const json& c : golden()["clusters"]) {
    const auto values = c["values"].get<std::vector<double>>();
    const auto clusters = c["clusters"].get<std::vector<std::int64_t>>();
    EXPECT_NEAR(mean_error(values).mean, c["mean"].get<double>(), 1e-13);
    EXPECT_NEAR(mean_error(values).stderr_, c["stderr"].get<double>(), 1e-13);
    EXPECT_NEAR(clustered_mean_error(values, clusters).stderr_, c["clustered"].get<double>(),
                1e-13);
  }
}

TEST(Golden, ClusteredMcNemar) {
  for (const json& c : golden()["clustered_mcnemar"]) {
    const ClusteredTest test = clustered_mcnemar(c["sums"].get<std::vector<std::int64_t>>());
    EXPECT_NEAR(test.p, c["p"].get<double>(), 1e-12) << c;
    EXPECT_NEAR(test.mid_p, c["mid_p"].get<double>(), 1e-12) << c;
  }
}

// The oracle finds Tango's limits numerically.
TEST(Golden, Averages) {
  const double margin = golden()["margin"].get<double>();
  for (const json& c : golden()["averages"]) {
    std::vector<TaskDifference> tasks;
    for (std::size_t t = 0; t < c["tables"].size(); ++t) {
      tasks.push_back({counts_of(c["tables"][t]), c["weights"][t].get<double>(),
                       c["design_effects"][t].get<double>()});
    }
    EXPECT_NEAR(average_difference(tasks), c["difference"].get<double>(), 1e-14);
    const Interval interval = average_difference_interval(tasks, 0.95);
    EXPECT_NEAR(interval.low, c["interval"][0].get<double>(), 1e-6) << c;
    EXPECT_NEAR(interval.high, c["interval"][1].get<double>(), 1e-6) << c;
    EXPECT_NEAR(average_equivalence_p(tasks, margin), c["equivalence"].get<double>(), 1e-5) << c;
  }
}

TEST(Golden, ItemsForEquivalence) {
  for (const json& c : golden()["equivalence_items"]) {
    const auto g = c["given"].get<std::vector<double>>();
    const double items = c["items"].get<double>();
    EXPECT_NEAR(items_for_equivalence(g[0], g[1], g[2], g[3], g[4]), items, items * 1e-7) << c;
  }
}

TEST(Golden, SignFlip) {
  for (const json& c : golden()["sign_flip"]) {
    EXPECT_NEAR(sign_flip_p(c["values"].get<std::vector<double>>()), c["p"].get<double>(), 1e-12);
  }
}

}  // namespace
}  // namespace qx
