// SPDX-License-Identifier: Apache-2.0
#include "report/weight_maps.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace qx {
namespace {

MeasuredRow row(const std::string& name, Role role, int layer, std::int64_t weights, int bits,
                int group) {
  MeasuredRow measured;
  measured.tensor.name = name;
  measured.tensor.role = role;
  measured.tensor.layer = layer;
  measured.tensor.shape = {weights / 8, 8};
  measured.is_stored = true;
  measured.bits = bits;
  measured.bytes = weights * bits / 8;
  if (group > 0) {
    measured.mode = "affine";
    measured.group_size = group;
    measured.affine = AffineSpec{bits, group};
  }
  return measured;
}

// Two layers; the second lacks its q; two experts of one layer have different widths.
MeasuredDirectory directory() {
  MeasuredDirectory d;
  d.rows = {
      row("embed", Role::kEmbedding, -1, 80, 6, 64), row("0.q", Role::kAttentionQ, 0, 80, 4, 64),
      row("0.e0", Role::kExpert, 0, 80, 3, 64),      row("0.e1", Role::kExpert, 0, 240, 5, 64),
      row("1.q", Role::kAttentionQ, 1, 80, 4, 64),   row("1.e", Role::kExpert, 1, 80, 16, 0),
      row("norm", Role::kNorm, 1, 8, 16, 0)};
  d.rows[4].is_stored = false;
  return d;
}

TEST(WeightMap, SetsBitsByRoleAndLayer) {
  const WeightMap map = weight_map("v", directory());
  EXPECT_EQ(map.run, "v");
  EXPECT_EQ(map.roles, (std::vector<std::string>{"q", "expert"}));
  ASSERT_EQ(map.cells.size(), 2u);
  ASSERT_EQ(map.cells[0].size(), 2u);
  EXPECT_EQ(map.cells[0][0]->bits, 4);
  EXPECT_FALSE(map.cells[0][1].has_value());
  EXPECT_DOUBLE_EQ(map.cells[1][0]->bits, 4.5);  // (80 x 3 + 240 x 5) / 320
  EXPECT_EQ(map.cells[1][1]->bits, 16);
  ASSERT_EQ(map.outside.size(), 1u);
  EXPECT_EQ(map.outside[0].first, "embedding");
  ASSERT_EQ(map.widths.size(), 5u);
  EXPECT_EQ(map.widths[0].weights, 240);
  EXPECT_EQ(map.widths[1].mode, "float");  // an expert and the norm
  EXPECT_EQ(map.widths[1].tensors, 2);
}

TensorError error(const std::string& name, std::int64_t weights, double rms, double relative) {
  TensorError e;
  e.name = name;
  e.affine = AffineSpec{4, 64};
  e.weights = weights;
  e.rms = rms;
  e.sqnr_db = -20 * std::log10(relative);
  return e;
}

TEST(LayerErrors, AddUpSquaresAndNotRatios) {
  // 0.q: noise 80 x 0.01, signal 80; 0.e1: noise 240 x 0.16, signal 240 x 4.
  std::vector<TensorError> errors{error("embed", 80, 0.1, 0.5), error("0.q", 80, 0.1, 0.1),
                                  error("0.e1", 240, 0.4, 0.2)};
  errors.push_back(error("1.q", 80, 0, 1));
  errors.back().sqnr_db = std::numeric_limits<double>::infinity();
  errors.push_back(error("1.e", 80, 0.1, 0.1));
  errors.back().affine.reset();
  const LayerErrors result = layer_errors("v", directory(), errors);
  EXPECT_EQ(result.quantized_tensors, 4);
  ASSERT_EQ(result.layers.size(), 2u);
  EXPECT_NEAR(*result.layers[0], std::sqrt((0.8 + 38.4) / (80 + 960)), 1e-12);
  EXPECT_FALSE(result.layers[1].has_value());
  ASSERT_EQ(result.worst.size(), 3u);
  EXPECT_EQ(result.worst[0].name, "embed");
  EXPECT_NEAR(result.worst[0].relative, 0.5, 1e-12);
  ASSERT_EQ(result.roles.size(), 3u);
  EXPECT_EQ(result.roles[0].first, "embedding");
  EXPECT_NEAR(result.roles[0].second, 0.5, 1e-12);
}

TEST(LayerErrors, KeepTheEightWorst) {
  MeasuredDirectory d;
  std::vector<TensorError> errors;
  for (int i = 0; i < 20; ++i) {
    d.rows.push_back(row(std::to_string(i), Role::kMlpUp, i, 80, 4, 64));
    errors.push_back(error(std::to_string(i), 80, 0.1, 0.01 * (i + 1)));
  }
  const LayerErrors result = layer_errors("v", d, errors);
  ASSERT_EQ(result.worst.size(), 8u);
  EXPECT_EQ(result.worst[0].name, "19");
  EXPECT_EQ(result.worst[7].name, "12");
}

}  // namespace
}  // namespace qx
