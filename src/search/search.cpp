// SPDX-License-Identifier: Apache-2.0
#include "search/search.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/progress.h"

namespace qx {
namespace {

double bits_of(std::int64_t bytes, std::int64_t parameters) {
  return 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
}

std::vector<SearchCurvePoint> make_curve(const PlanSpace& space, int points) {
  std::vector<std::int64_t> budgets;
  for (int i = 0; i < points; ++i) {
    budgets.push_back(space.smallest() +
                      (space.largest() - space.smallest()) / std::max(1, points - 1) * i);
  }
  std::vector<SearchCurvePoint> curve;
  for (const auto& found : space.solve(budgets, {})) {
    const std::int64_t bytes = found ? found->plan.tensor_bytes : 0;
    if (!found || (!curve.empty() && bytes <= curve.back().bytes)) continue;
    curve.push_back({bytes, bits_of(bytes, space.parameters()), found->predicted});
  }
  return curve;
}

SearchMeasurement record(const Plan& plan, std::optional<double> predicted, std::string name,
                         const char* kind, FitMethod method, const PlanMeasure& m) {
  SearchMeasurement out;
  out.name = std::move(name);
  out.kind = kind;
  out.codes = fit_method_name(method);
  out.plan_hash = plan.plan_hash();
  out.bytes = plan.tensor_bytes;
  out.bits_per_weight = plan.bits_per_weight;
  out.predicted = predicted;
  out.kl = m.kl;
  if (std::isfinite(m.kl_stderr)) out.kl_stderr = m.kl_stderr;
  out.kl_windows = m.kl_windows;
  out.top1 = m.top1;
  out.perplexity = m.perplexity;
  return out;
}

// Factors of several scalings at once.
CostScaling combine(std::span<const CostScaling> scalings) {
  CostScaling out;
  out.name.clear();
  for (const CostScaling& s : scalings) {
    out.name += (out.name.empty() ? "" : ", ") + s.name;
    out.embedding *= s.embedding;
    out.attention *= s.attention;
    out.first *= s.first;
    out.last *= s.last;
    out.wide_groups *= s.wide_groups;
    out.few_bits *= s.few_bits;
  }
  return out;
}

class Refinement {
 public:
  Refinement(const PlanSpace& space, const SearchSettings& settings, PlanMeter& meter,
             SpacePlan first)
      : space_(space), settings_(settings), meter_(meter) {
    seen_.insert(first.plan.plan_hash());
    measure(std::move(first), {});
  }

  void run() {
    const std::vector<CostScaling> all = scalings_to_try();
    for (std::size_t i = 1; i < all.size(); ++i) {
      if (static_cast<int>(plans_.size()) + 1 >= settings_.candidates) break;
      try_scaling(all[i]);
    }
    // Those that helped beyond chance, together.
    std::vector<std::pair<double, std::size_t>> helped;
    for (std::size_t i = 1; i < plans_.size(); ++i) {
      const PairedDifference d = paired_difference(measures_[0], measures_[i]);
      if (d.mean < -d.error) helped.emplace_back(d.mean, i);
    }
    std::sort(helped.begin(), helped.end());
    std::vector<CostScaling> together;
    for (const auto& [mean, i] : helped) together.push_back(scalings_[i]);
    if (together.size() > 1 && static_cast<int>(plans_.size()) < settings_.candidates) {
      try_scaling(combine(together));
    }
  }

  std::size_t pick() const { return pick_candidate(measures_); }
  SpacePlan& plan(std::size_t i) { return plans_[i]; }
  const std::string& name(std::size_t i) const { return scalings_[i].name; }

  void append_to(std::vector<SearchMeasurement>& out) const {
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      out.push_back(record(plans_[i].plan, plans_[i].predicted, scalings_[i].name, "candidate",
                           settings_.method, measures_[i]));
      if (i == 0) continue;
      const PairedDifference d = paired_difference(measures_[0], measures_[i]);
      out.back().difference = d.mean;
      if (std::isfinite(d.error)) out.back().difference_stderr = d.error;
    }
  }

 private:
  void try_scaling(const CostScaling& scaling) {
    auto found = space_.solve(std::span(&settings_.budget_bytes, 1), scaling);
    if (!found[0] || !seen_.insert(found[0]->plan.plan_hash()).second) return;
    measure(*std::move(found[0]), scaling);
  }

  void measure(SpacePlan plan, const CostScaling& scaling) {
    measures_.push_back(meter_.measure(plan.plan, settings_.method));
    plans_.push_back(std::move(plan));
    scalings_.push_back(scaling);
    if (settings_.quiet) return;
    const PlanMeasure& m = measures_.back();
    fmt::print(stderr, "qx search: {:2} KL {:.5f} (predicted {:.5f})", plans_.size(), m.kl,
               plans_.back().predicted);
    if (plans_.size() > 1) {
      const PairedDifference d = paired_difference(measures_[0], m);
      fmt::print(stderr, " {:+.5f} ± {:.5f}", d.mean, d.error);
    }
    fmt::print(stderr, "  {}\n", scaling.name);
  }

  const PlanSpace& space_;
  const SearchSettings& settings_;
  PlanMeter& meter_;
  std::set<std::string> seen_;
  std::vector<SpacePlan> plans_;
  std::vector<CostScaling> scalings_;
  std::vector<PlanMeasure> measures_;
};

// As MLX codes them.
std::vector<Plan> plans_to_compare(const PlanSpace& space, const ModelConfig& config,
                                   const SearchSettings& settings) {
  std::vector<Plan> plans;
  for (const std::string& name : settings.compare) {
    plans.push_back(plan_of_recipe("--compare " + name, name, config, space.dtype()));
  }
  return plans;
}

// Recipes, and the plan of the same bytes as each.
void measure_recipes(const PlanSpace& space, const std::vector<Plan>& plans,
                     const SearchSettings& settings, PlanMeter& meter,
                     std::vector<SearchMeasurement>& out) {
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const Plan& plain = plans[i];
    const std::string& name = settings.compare[i];
    out.push_back(record(plain, std::nullopt, name, "recipe", FitMethod::kMinMax,
                         meter.measure(plain, FitMethod::kMinMax)));
    if (plain.tensor_bytes == settings.budget_bytes) continue;  // the candidates are there already
    const auto found = space.solve(std::span(&plain.tensor_bytes, 1), {});
    if (!found[0]) continue;
    out.push_back(record(found[0]->plan, found[0]->predicted, "bytes of " + name, "curve",
                         settings.method, meter.measure(found[0]->plan, settings.method)));
  }
}

}  // namespace

std::vector<CostScaling> scalings_to_try() {
  std::vector<CostScaling> out(1);
  const auto add = [&](std::string name, double CostScaling::*factor, double value) {
    out.emplace_back();
    out.back().name = std::move(name);
    out.back().*factor = value;
  };
  add("embedding x 2", &CostScaling::embedding, 2);
  add("embedding / 2", &CostScaling::embedding, 0.5);
  add("2 and 3 bits x 1.5", &CostScaling::few_bits, 1.5);
  add("groups of 64 and 128 / 1.25", &CostScaling::wide_groups, 0.8);
  add("groups of 64 and 128 x 1.25", &CostScaling::wide_groups, 1.25);
  add("first quarter of the layers x 1.5", &CostScaling::first, 1.5);
  add("attention x 1.5", &CostScaling::attention, 1.5);
  add("last quarter of the layers x 1.5", &CostScaling::last, 1.5);
  add("attention / 1.5", &CostScaling::attention, 1 / 1.5);
  add("first quarter of the layers / 1.5", &CostScaling::first, 1 / 1.5);
  add("last quarter of the layers / 1.5", &CostScaling::last, 1 / 1.5);
  return out;
}

std::size_t pick_candidate(std::span<const PlanMeasure> candidates) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < candidates.size(); ++i) {
    const PairedDifference d = paired_difference(candidates[0], candidates[i]);
    // With one window there is no error to judge by.
    const double error = std::isfinite(d.error) ? d.error : 0;
    if (d.mean < -error && candidates[i].kl < candidates[best].kl) best = i;
  }
  return best;
}

void check_settings(const PlanSpace& space, const ModelConfig& config,
                    const SearchSettings& settings) {
  if (settings.budget_bytes < space.smallest()) {
    fail(fmt::format("--budget {}", settings.budget),
         "got {} bytes ({:.3f} bits per weight), expected at least {} ({:.3f}), which the smallest "
         "plan takes that the other options allow",
         settings.budget_bytes, bits_of(settings.budget_bytes, space.parameters()),
         space.smallest(), bits_of(space.smallest(), space.parameters()));
  }
  plans_to_compare(space, config, settings);
}

SearchFound search_plan(const PlanSpace& space, const ModelConfig& config,
                        const SearchSettings& settings, PlanMeter* meter) {
  check_settings(space, config, settings);
  const std::vector<Plan> compared = plans_to_compare(space, config, settings);
  SearchFound out;
  auto first = space.solve(std::span(&settings.budget_bytes, 1), {});
  QX_CHECK(first[0].has_value());
  out.curve = make_curve(space, settings.curve_points);
  out.name = CostScaling{}.name;
  if (meter == nullptr) {
    out.best = *std::move(first[0]);
    return out;
  }
  Refinement refinement(space, settings, *meter, *std::move(first[0]));
  refinement.run();
  const std::size_t picked = refinement.pick();
  out.name = refinement.name(picked);
  refinement.append_to(out.measured);
  measure_recipes(space, compared, settings, *meter, out.measured);
  out.best = std::move(refinement.plan(picked));
  QX_CHECK(out.best.plan.tensor_bytes <= settings.budget_bytes);
  return out;
}

}  // namespace qx
