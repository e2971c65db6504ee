// All plans that the rules of a search allow, with their sizes and predicted damage, and the best of
// them within budgets. The predicted KL divergence of a plan is the sum of its tensors' costs in a
// sensitivity file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arch/catalog.h"
#include "recipe/plan.h"
#include "search/knapsack.h"
#include "search/search_rules.h"
#include "sensitivity/sensitivity_file.h"

namespace qx {

// Factors on the costs of kinds of tensors and codes: what a search tries beside the costs as they
// are, since no cost is exact and sums of costs leave out what errors do to each other.
struct CostScaling {
  std::string name = "costs as they are";
  double embedding = 1, attention = 1;  // of the embedding and head; of q k v o
  double first = 1, last = 1;           // of the first and the last quarter of the layers
  double wide_groups = 1;               // of groups above 32
  double few_bits = 1;                  // of 2 and 3 bits
};

struct SpacePlan {
  Plan plan;
  double predicted = 0;  // nats a token, from the costs as they are
};

class PlanSpace {
 public:
  // Fails: UsageError for rules that contradict each other or fit nothing; Error at `origin` where
  // the file lacks a tensor of the model, or a code that the rules ask for.
  PlanSpace(const ModelConfig& config, const Sensitivity& sensitivity, const SearchRules& rules,
            const std::string& origin);

  // By budget (bytes of all stored tensors); nothing where no plan is that small.
  std::vector<std::optional<SpacePlan>> solve(std::span<const std::int64_t> budgets,
                                              const CostScaling& scaling) const;
  // Of tensors and codes in the file; nothing for others, and for one that stays in float 0.
  std::optional<double> predict(const Plan& plan) const;

  std::int64_t smallest() const { return smallest_; }  // bytes of the smallest plan
  std::int64_t largest() const { return largest_; }    // of the one with the most bytes
  std::int64_t parameters() const { return parameters_; }
  bool exact() const { return exact_; }  // as KnapsackResult::exact, of all solve() so far
  DType dtype() const { return dtype_; }

 private:
  struct Code {
    AffineSpec spec;
    std::int64_t bytes = 0;
    double cost = 0;
  };
  // Tensors that get one code together.
  struct Unit {
    std::vector<std::size_t> tensors;  // in the catalog
    std::vector<AffineSpec> specs;     // that all of them may have
  };

  std::vector<Code> allowed_codes(std::size_t tensor, const SensitivityTensor& measured,
                                  const KeepRule* keep, const std::string& origin) const;
  void make_units(const std::string& origin);
  std::vector<std::vector<int>> width_sets() const;
  double factor(std::size_t tensor, const AffineSpec& spec, const CostScaling& scaling) const;
  const Code& code(std::size_t tensor, const AffineSpec& spec) const;
  Plan make_plan_of(const std::vector<std::optional<AffineSpec>>& specs) const;

  ModelConfig config_;
  SearchRules rules_;
  DType dtype_ = DType::kBF16;
  std::vector<CatalogTensor> catalog_;
  std::vector<std::vector<Code>> codes_;      // by tensor of the catalog; empty: stays in float
  std::vector<std::vector<Code>> all_codes_;  // the same, of the whole file
  std::vector<Unit> units_;
  std::int64_t float_bytes_ = 0;  // of what stays in float
  std::int64_t smallest_ = 0, largest_ = 0, parameters_ = 0;
  mutable bool exact_ = true;
};

// A recipe file (docs/recipes.md) that resolves to exactly this plan on this model; `why` stands at
// every rule. name: without braces.
Json recipe_of_plan(const Plan& plan, const ModelConfig& config, const std::string& name,
                    const std::string& description, const std::string& why);

}  // namespace qx
