// SPDX-License-Identifier: Apache-2.0
#include "search/plan_space.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>

#include "base/error.h"
#include "io/test_files.h"
#include "recipe/recipe.h"
#include "search/test_sensitivity.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
using testing_files::error_of;

ModelConfig config_of(const TinyModel& model) {
  return parse_model_config(tiny_config(model), "test");
}

std::optional<SpacePlan> solve_one(const PlanSpace& space, std::int64_t budget) {
  return space.solve(std::span(&budget, 1), {})[0];
}

std::set<int> widths_of(const Plan& plan) {
  std::set<int> out;
  for (const PlanRow& row : plan.rows) {
    if (row.affine) out.insert(row.affine->bits);
  }
  return out;
}

TEST(PlanSpace, NeverAboveTheBudgetAndBetterThanRecipes) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    for (const bool tied : {false, true}) {
      const ModelConfig config = config_of({.family = family, .tied = tied});
      const PlanSpace space(config, made_up_sensitivity(config), {}, "s.json");
      for (const char* recipe : {"q3-hi", "q4-hi", "qx63-hi", "q4"}) {
        const Plan plain = plan_named(config, recipe);
        const auto found = solve_one(space, plain.tensor_bytes);
        ASSERT_TRUE(found.has_value());
        EXPECT_LE(found->plan.tensor_bytes, plain.tensor_bytes);
        EXPECT_LE(found->predicted, *space.predict(plain) * (1 + 1e-12)) << recipe;
        EXPECT_DOUBLE_EQ(found->predicted, *space.predict(found->plan));
      }
      EXPECT_TRUE(space.exact());
      EXPECT_FALSE(solve_one(space, space.smallest() - 1).has_value());
      EXPECT_EQ(solve_one(space, space.smallest())->plan.tensor_bytes, space.smallest());
    }
  }
}

TEST(PlanSpace, RulesHold) {
  const ModelConfig config = config_of({.family = "llama", .tied = true});
  const Sensitivity sensitivity = made_up_sensitivity(config);
  SearchRules rules;
  rules.min_bits = 3;
  rules.max_bits = 6;
  rules.groups = {32, 64};
  rules.keep = {parse_keep("*v_proj=8"), parse_keep("model.layers.1.*=float"),
                parse_keep("*q_proj=2/128")};
  const PlanSpace space(config, sensitivity, rules, "s.json");
  const auto found = solve_one(space, (space.smallest() + space.largest()) / 2);
  ASSERT_TRUE(found.has_value());
  for (const PlanRow& row : found->plan.rows) {
    if (!row.tensor.quantizable) continue;
    const std::string& name = row.tensor.name;
    if (row.tensor.role == Role::kAttentionV) {
      ASSERT_TRUE(row.affine) << name;  // the first rule that fits decides
      EXPECT_EQ(row.affine->bits, 8);
      EXPECT_NE(row.affine->group, 128);
    } else if (row.tensor.layer == 1) {
      EXPECT_FALSE(row.affine) << name;
    } else if (row.tensor.role == Role::kAttentionQ) {
      EXPECT_EQ(row.affine, (AffineSpec{2, 128})) << name;
    } else {
      EXPECT_GE(row.affine->bits, 3) << name;
      EXPECT_LE(row.affine->bits, 6) << name;
      EXPECT_NE(row.affine->group, 128) << name;
    }
  }
}

TEST(PlanSpace, FewWidthsAndSymmetry) {
  const ModelConfig config = config_of({.family = "llama"});
  const Sensitivity sensitivity = made_up_sensitivity(config);
  const PlanSpace free(config, sensitivity, {}, "s.json");
  const std::int64_t budget = (2 * free.smallest() + free.largest()) / 3;
  const double best = solve_one(free, budget)->predicted;
  EXPECT_GT(widths_of(solve_one(free, budget)->plan).size(), 2U);
  double before = best;
  for (const int widths : {5, 4, 3, 2, 1}) {
    SearchRules rules;
    rules.max_widths = widths;
    const auto found = solve_one(PlanSpace(config, sensitivity, rules, "s.json"), budget);
    ASSERT_TRUE(found.has_value());
    EXPECT_LE(widths_of(found->plan).size(), static_cast<std::size_t>(widths));
    EXPECT_GE(found->predicted, before * (1 - 1e-12)) << widths;
    before = found->predicted;
  }
  for (const Alike alike : {Alike::kInputs, Alike::kRoles}) {
    SearchRules rules;
    rules.alike = alike;
    const auto found = solve_one(PlanSpace(config, sensitivity, rules, "s.json"), budget);
    ASSERT_TRUE(found.has_value());
    EXPECT_GE(found->predicted, best);
    std::map<std::string, std::set<std::pair<int, int>>> codes;
    for (const PlanRow& row : found->plan.rows) {
      if (!row.affine) continue;
      const Role role = row.tensor.role;
      std::string key(role_name(role));
      if (alike == Alike::kInputs) {
        if (role == Role::kAttentionK || role == Role::kAttentionV) key = "q";
        if (role == Role::kMlpUp) key = "gate";
        key += std::to_string(row.tensor.layer);
      }
      codes[key].insert({row.affine->bits, row.affine->group});
    }
    for (const auto& [key, specs] : codes) EXPECT_EQ(specs.size(), 1U) << key;
  }
}

TEST(PlanSpace, ScalingMovesBits) {
  const ModelConfig config = config_of({.family = "llama", .tied = true});
  const PlanSpace space(config, made_up_sensitivity(config), {}, "s.json");
  const std::int64_t budget = (space.smallest() + space.largest()) / 2;
  const auto embedding_bytes = [&](double factor) {
    CostScaling scaling;
    scaling.embedding = factor;
    const auto found = space.solve(std::span(&budget, 1), scaling)[0];
    EXPECT_LE(found->plan.tensor_bytes, budget);
    return found->plan.rows.front().bytes;
  };
  EXPECT_LT(embedding_bytes(1e-3), embedding_bytes(1e3));
}

TEST(PlanSpace, WrongRulesAndFilesAreNamed) {
  const ModelConfig config = config_of({.family = "llama"});
  const Sensitivity sensitivity = made_up_sensitivity(config);
  const auto make = [&](const SearchRules& rules, const Sensitivity& s) {
    return PlanSpace(config, s, rules, "s.json");
  };
  SearchRules rules;
  rules.keep = {parse_keep("*no_such*=4")};
  EXPECT_THROW(make(rules, sensitivity), UsageError);
  rules = {};
  rules.min_bits = 6;
  rules.max_bits = 4;
  EXPECT_THROW(make(rules, sensitivity), UsageError);
  rules = {};
  rules.bits = {4};
  rules.min_bits = 5;
  EXPECT_NE(error_of([&] { make(rules, sensitivity); }).find("no code is left"), std::string::npos);
  rules = {};
  rules.alike = Alike::kInputs;
  rules.keep = {parse_keep("*q_proj=4")};
  rules.bits = {3, 5};
  EXPECT_NE(error_of([&] { make(rules, sensitivity); }).find("may both have"), std::string::npos);
  rules = {};
  rules.max_widths = 1;
  rules.keep = {parse_keep("*q_proj=4"), parse_keep("*k_proj=5")};
  EXPECT_THROW(make(rules, sensitivity), UsageError);
  rules = {};
  rules.keep = {parse_keep("*=float")};
  EXPECT_THROW(make(rules, sensitivity), UsageError);
  Sensitivity less = sensitivity;
  less.tensors.erase(less.tensors.begin() + 3);
  EXPECT_NE(error_of([&] { make({}, less); }).find(sensitivity.tensors[3].name), std::string::npos);
}

TEST(RecipeOfPlan, ResolvesToTheSamePlan) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const ModelConfig config = config_of({.family = "qwen3"});
    Sensitivity sensitivity = made_up_sensitivity(config);
    sensitivity.dtype = dtype;
    SearchRules rules;
    rules.keep = {parse_keep("model.layers.2.mlp.*=float")};
    const PlanSpace space(config, sensitivity, rules, "s.json");
    const auto found = solve_one(space, (space.smallest() + space.largest()) / 2);
    const Json recipe = recipe_of_plan(found->plan, config, "mine", "text", "because");
    TestFolder scratch;
    write_text(scratch / "mine.json", recipe.dump());
    const Plan plan = plan_named(config, (scratch / "mine.json").string());
    EXPECT_EQ(plan.plan_hash(), found->plan.plan_hash());
    EXPECT_EQ(plan.tensor_bytes, found->plan.tensor_bytes);
    EXPECT_EQ(recipe["rules"][0]["why"], "because");
  }
}

}  // namespace
}  // namespace qx
