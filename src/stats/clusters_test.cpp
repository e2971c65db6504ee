// SPDX-License-Identifier: Apache-2.0
#include "stats/clusters.h"

#include <gtest/gtest.h>

#include "stats/stats.h"

#include <cmath>
#include <vector>

namespace qx {
namespace {

TEST(Clusters, OneItemAClusterIsTheUsualError) {
  const std::vector<double> values = {0, 1, 1, 0, 1, 1, 1, 0};
  const std::vector<std::int64_t> own = {1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_NEAR(clustered_mean_error(values, own).stderr_, mean_error(values).stderr_, 1e-15);
}

// Copies of an item carry no information: the error is that of the items without copies.
TEST(Clusters, CopiesDoNotNarrowTheError) {
  const std::vector<double> once = {0, 1, 1, 0, 1};
  std::vector<double> values;
  std::vector<std::int64_t> cluster;
  for (std::size_t i = 0; i < once.size(); ++i) {
    for (int copy = 0; copy < 4; ++copy) {
      values.push_back(once[i]);
      cluster.push_back(static_cast<std::int64_t>(i));
    }
  }
  EXPECT_NEAR(clustered_mean_error(values, cluster).stderr_, mean_error(once).stderr_, 1e-15);
  EXPECT_LT(mean_error(values).stderr_, mean_error(once).stderr_ / 1.9);
}

TEST(Clusters, TooFewToTell) {
  EXPECT_TRUE(std::isnan(mean_error({}).mean));
  EXPECT_TRUE(std::isnan(mean_error(std::vector<double>{1}).stderr_));
  const std::vector<std::int64_t> one_cluster = {1, 1};
  EXPECT_TRUE(std::isnan(clustered_mean_error(std::vector<double>{1, 2}, one_cluster).stderr_));
}

TEST(Averages, MacroWeighsTasksAndMicroItems) {
  const TaskMean tasks[] = {{0.10, 0.02, 100}, {0.40, 0.01, 300}};
  const MeanError macro = macro_average(tasks), micro = micro_average(tasks);
  EXPECT_NEAR(macro.mean, 0.25, 1e-15);
  EXPECT_NEAR(macro.stderr_, std::sqrt(0.0005) / 2, 1e-15);
  EXPECT_NEAR(micro.mean, 0.325, 1e-15);
  EXPECT_NEAR(micro.stderr_, std::sqrt(4 + 9.0) / 400, 1e-15);
  EXPECT_TRUE(std::isnan(macro_average({}).mean));
  EXPECT_TRUE(std::isnan(micro_average({}).mean));
}

TEST(ClusteredMcNemar, IsMcNemarsTestWhereEveryItemIsItsOwn) {
  std::vector<std::int64_t> sums(23, 1);
  for (std::size_t i = 0; i < 7; ++i) sums[i] = -1;
  sums.resize(60, 0);
  const PairedCounts counts{20, 7, 16, 17};
  EXPECT_NEAR(clustered_mcnemar(sums).p, mcnemar_exact(counts), 1e-12);
  EXPECT_NEAR(clustered_mcnemar(sums).mid_p, mcnemar_mid_p(counts), 1e-12);
}

TEST(ClusteredMcNemar, APassageIsOneAnswer) {
  EXPECT_EQ(clustered_mcnemar({}).p, 1);
  EXPECT_EQ(clustered_mcnemar(std::vector<std::int64_t>{0, 0}).p, 1);
  // Twenty items of one passage are no more than one coin.
  EXPECT_EQ(clustered_mcnemar(std::vector<std::int64_t>{20}).p, 1);
  EXPECT_EQ(clustered_mcnemar(std::vector<std::int64_t>{5, 5}).p, 0.5);
  EXPECT_EQ(clustered_mcnemar(std::vector<std::int64_t>{3, -3}).p, 1);
}

}  // namespace
}  // namespace qx
