// A bit plan under a budget: the best by predicted divergence, then the best of a few by measured
// divergence. docs/search.md has the method.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "search/plan_meter.h"
#include "search/plan_space.h"
#include "search/search_file.h"

namespace qx {

struct SearchSettings {
  std::string budget;  // as it was given, for messages
  std::int64_t budget_bytes = 0;
  int candidates = 12;               // plans to measure for the budget at most
  std::vector<std::string> compare;  // recipes to measure as MLX codes them, with the plan of the
                                     // same bytes
  int curve_points = 49;
  FitMethod method = FitMethod::kGptq;
  bool quiet = false;
};

struct SearchFound {
  SpacePlan best;
  std::string name;  // of the chosen candidate
  std::vector<SearchCurvePoint> curve;
  std::vector<SearchMeasurement> measured;
};

// The scalings that a search tries, the costs as they are first.
std::vector<CostScaling> scalings_to_try();

// Picks by the paired difference to the first: the one of least KL, if it is below the first by more
// than its standard error; else the first. Returns its index.
std::size_t pick_candidate(std::span<const PlanMeasure> candidates);

// What search_plan() refuses before it measures. Fails: Error when the budget is below the smallest plan,
// naming it; as plan_of_recipe for settings.compare.
void check_settings(const PlanSpace& space, const ModelConfig& config,
                    const SearchSettings& settings);

// meter: null: nothing is measured, and the first plan is the result. Fails: as check_settings, before
// anything is measured; as PlanMeter.
SearchFound search_plan(const PlanSpace& space, const ModelConfig& config,
                        const SearchSettings& settings, PlanMeter* meter);

}  // namespace qx
