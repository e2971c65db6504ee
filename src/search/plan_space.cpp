// SPDX-License-Identifier: Apache-2.0
#include "search/plan_space.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "fit/calibration_file.h"
#include "recipe/directory_map.h"
#include "recipe/recipe.h"
#include "recipe/resolve.h"

namespace qx {
namespace {

constexpr int kWidths[] = {2, 3, 4, 5, 6, 8};
constexpr int kSmallestGroup = 32;

template <typename T>
bool has_item(const std::vector<T>& list, const T& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

void check_rules(const SearchRules& rules) {
  if (rules.min_bits > rules.max_bits) {
    throw UsageError(
        fmt::format("--min-bits {} is above --max-bits {}", rules.min_bits, rules.max_bits));
  }
  if (rules.groups.empty()) throw UsageError("--groups: got none, expected 32, 64 or 128");
}

std::string unit_key(const CatalogTensor& tensor, Alike alike, bool tied) {
  if (alike == Alike::kRoles) return std::string(role_name(tensor.role));
  // A tied embedding reads the final states alone, which is what it is named by.
  if (alike == Alike::kInputs && tensor.layer >= 0) return linear_input_of(tensor, tied);
  return tensor.name;
}

}  // namespace

PlanSpace::PlanSpace(const ModelConfig& config, const Sensitivity& sensitivity,
                     const SearchRules& rules, const std::string& origin)
    : config_(config),
      rules_(rules),
      dtype_(sensitivity.dtype),
      catalog_(tensor_catalog(config)),
      codes_(catalog_.size()),
      all_codes_(catalog_.size()) {
  check_rules(rules);
  parameters_ = parameter_count(catalog_);
  std::map<std::string_view, const SensitivityTensor*> measured;
  for (const SensitivityTensor& t : sensitivity.tensors) measured[t.name] = &t;
  std::vector<bool> used(rules.keep.size(), false);
  for (std::size_t i = 0; i < catalog_.size(); ++i) {
    const CatalogTensor& tensor = catalog_[i];
    const auto rule = std::find_if(rules.keep.begin(), rules.keep.end(), [&](const KeepRule& k) {
      return tensor.quantizable &&
             (glob_match(k.pattern, tensor.module) || glob_match(k.pattern, tensor.name));
    });
    const KeepRule* keep = rule == rules.keep.end() ? nullptr : &*rule;
    if (keep != nullptr) used[static_cast<std::size_t>(rule - rules.keep.begin())] = true;
    const bool divided = tensor.quantizable && tensor.shape.back() % kSmallestGroup == 0;
    if (!divided || (keep != nullptr && keep->bits == 0)) {
      float_bytes_ += make_row(tensor, std::nullopt, dtype_, "").bytes;
      continue;
    }
    const auto found = measured.find(tensor.name);
    if (found == measured.end() || found->second->shape != tensor.shape) {
      fail(origin, "got no costs of '{}' {}, expected those of every matrix of the model",
           tensor.name, shape_text(tensor.shape));
    }
    for (const SensitivityOption& o : found->second->options) {
      all_codes_[i].push_back({o.spec, o.bytes, o.cost});
    }
    codes_[i] = allowed_codes(i, *found->second, keep, origin);
  }
  for (std::size_t k = 0; k < used.size(); ++k) {
    if (used[k]) continue;
    throw UsageError(
        fmt::format("--keep: '{}' fits no matrix of the model that no earlier one "
                    "fits",
                    rules.keep[k].pattern));
  }
  make_units(origin);
}

std::vector<PlanSpace::Code> PlanSpace::allowed_codes(std::size_t tensor,
                                                      const SensitivityTensor& measured,
                                                      const KeepRule* keep,
                                                      const std::string& origin) const {
  std::vector<Code> out;
  for (const SensitivityOption& o : measured.options) {
    const bool group_fits = keep != nullptr && keep->group != 0
                                ? o.spec.group == keep->group
                                : has_item(rules_.groups, o.spec.group);
    const bool bits_fit = keep != nullptr
                              ? o.spec.bits == keep->bits
                              : o.spec.bits >= rules_.min_bits && o.spec.bits <= rules_.max_bits &&
                                    (rules_.bits.empty() || has_item(rules_.bits, o.spec.bits));
    if (group_fits && bits_fit) out.push_back({o.spec, o.bytes, o.cost});
  }
  if (out.empty()) {
    fail(
        origin,
        "no code is left for '{}' with {} columns: none of the file's fits --min-bits, --max-bits, "
        "--bits, --groups and --keep; a group must divide the columns",
        catalog_[tensor].name, catalog_[tensor].shape.back());
  }
  return out;
}

void PlanSpace::make_units(const std::string& origin) {
  std::map<std::string, std::size_t> index;
  for (std::size_t t = 0; t < catalog_.size(); ++t) {
    if (codes_[t].empty()) continue;
    const std::string key = unit_key(catalog_[t], rules_.alike, config_.tie_word_embeddings);
    const auto [found, added] = index.emplace(key, units_.size());
    if (added) units_.emplace_back();
    Unit& unit = units_[found->second];
    unit.tensors.push_back(t);
    if (added) {
      for (const Code& c : codes_[t]) unit.specs.push_back(c.spec);
      continue;
    }
    std::erase_if(unit.specs, [&](const AffineSpec& spec) {
      return std::none_of(codes_[t].begin(), codes_[t].end(),
                          [&](const Code& c) { return c.spec == spec; });
    });
    if (unit.specs.empty()) {
      fail(origin, "no code is left that '{}' and '{}' may both have, as --symmetric {} asks for",
           catalog_[unit.tensors.front()].name, catalog_[t].name, alike_name(rules_.alike));
    }
  }
  if (units_.empty()) throw UsageError("--keep: every matrix stays in float, nothing is left");
  // Of the sets of widths, the smallest and largest plans.
  smallest_ = std::numeric_limits<std::int64_t>::max();
  for (const std::vector<int>& widths : width_sets()) {
    std::int64_t least = float_bytes_, most = float_bytes_;
    bool whole = true;
    for (const Unit& unit : units_) {
      std::int64_t lowest = std::numeric_limits<std::int64_t>::max(), highest = 0;
      for (const AffineSpec& spec : unit.specs) {
        if (!has_item(widths, spec.bits)) continue;
        std::int64_t bytes = 0;
        for (const std::size_t t : unit.tensors) bytes += code(t, spec).bytes;
        lowest = std::min(lowest, bytes);
        highest = std::max(highest, bytes);
      }
      whole = whole && highest > 0;
      if (!whole) break;
      least += lowest;
      most += highest;
    }
    if (!whole) continue;
    smallest_ = std::min(smallest_, least);
    largest_ = std::max(largest_, most);
  }
  if (largest_ == 0) {
    throw UsageError(
        fmt::format("--max-widths {}: the widths that --keep and --groups ask for are "
                    "more than that; there is no such plan",
                    rules_.max_widths));
  }
}

const PlanSpace::Code& PlanSpace::code(std::size_t tensor, const AffineSpec& spec) const {
  const auto found = std::find_if(codes_[tensor].begin(), codes_[tensor].end(),
                                  [&](const Code& c) { return c.spec == spec; });
  QX_CHECK(found != codes_[tensor].end());
  return *found;
}

// All sets of max_widths widths with those that --keep prescribes; one set of all without a limit.
std::vector<std::vector<int>> PlanSpace::width_sets() const {
  std::vector<int> all(std::begin(kWidths), std::end(kWidths));
  if (rules_.max_widths == 0) return {all};
  std::vector<std::vector<int>> out;
  for (unsigned bits = 1; bits < 1U << all.size(); ++bits) {
    std::vector<int> set;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if ((bits >> i & 1U) != 0) set.push_back(all[i]);
    }
    if (static_cast<int>(set.size()) == std::min<int>(rules_.max_widths, std::size(kWidths))) {
      out.push_back(std::move(set));
    }
  }
  return out;
}

double PlanSpace::factor(std::size_t tensor, const AffineSpec& spec,
                         const CostScaling& scaling) const {
  const CatalogTensor& t = catalog_[tensor];
  double out = 1;
  if (t.role == Role::kEmbedding || t.role == Role::kHead) out *= scaling.embedding;
  if (t.role == Role::kAttentionQ || t.role == Role::kAttentionK || t.role == Role::kAttentionV ||
      t.role == Role::kAttentionO) {
    out *= scaling.attention;
  }
  if (t.layer >= 0 && 4 * t.layer < config_.num_hidden_layers) out *= scaling.first;
  if (4 * t.layer >= 3 * config_.num_hidden_layers) out *= scaling.last;
  if (spec.group > kSmallestGroup) out *= scaling.wide_groups;
  if (spec.bits <= 3) out *= scaling.few_bits;
  return out;
}

std::vector<std::optional<SpacePlan>> PlanSpace::solve(std::span<const std::int64_t> budgets,
                                                       const CostScaling& scaling) const {
  struct Best {
    double cost = std::numeric_limits<double>::infinity();  // scaled
    std::vector<std::optional<AffineSpec>> specs;
  };
  std::vector<Best> best(budgets.size());
  std::vector<std::int64_t> rest;
  for (const std::int64_t budget : budgets) rest.push_back(budget - float_bytes_);
  for (const std::vector<int>& widths : width_sets()) {
    std::vector<KnapsackGroup> groups;
    std::vector<std::vector<AffineSpec>> specs;
    for (const Unit& unit : units_) {
      KnapsackGroup group;
      specs.emplace_back();
      for (const AffineSpec& spec : unit.specs) {
        if (!has_item(widths, spec.bits)) continue;
        KnapsackOption option;
        for (const std::size_t t : unit.tensors) {
          option.bytes += code(t, spec).bytes;
          option.cost += code(t, spec).cost * factor(t, spec, scaling);
        }
        group.push_back(option);
        specs.back().push_back(spec);
      }
      if (group.empty()) break;
      groups.push_back(std::move(group));
    }
    if (groups.size() < units_.size()) continue;
    const KnapsackResult result = solve_knapsack(groups, rest);
    exact_ = exact_ && result.exact;
    for (std::size_t b = 0; b < budgets.size(); ++b) {
      const auto& solution = result.solutions[b];
      if (!solution || !(solution->cost < best[b].cost)) continue;
      best[b].cost = solution->cost;
      best[b].specs.assign(catalog_.size(), std::nullopt);
      for (std::size_t u = 0; u < units_.size(); ++u) {
        for (const std::size_t t : units_[u].tensors) {
          best[b].specs[t] = specs[u][solution->taken[u]];
        }
      }
    }
  }
  std::vector<std::optional<SpacePlan>> out;
  for (const Best& b : best) {
    if (b.specs.empty()) {
      out.emplace_back();
      continue;
    }
    SpacePlan plan{make_plan_of(b.specs), 0};
    plan.predicted = predict(plan.plan).value_or(0);
    out.push_back(std::move(plan));
  }
  return out;
}

Plan PlanSpace::make_plan_of(const std::vector<std::optional<AffineSpec>>& specs) const {
  Plan plan;
  plan.recipe = "search";
  for (std::size_t t = 0; t < catalog_.size(); ++t) {
    plan.rows.push_back(make_row(catalog_[t], specs[t], dtype_, "search"));
  }
  finish_plan(plan);
  return plan;
}

std::optional<double> PlanSpace::predict(const Plan& plan) const {
  QX_CHECK(plan.rows.size() == catalog_.size());
  double sum = 0;
  for (std::size_t t = 0; t < catalog_.size(); ++t) {
    const auto& spec = plan.rows[t].affine;
    if (!spec) continue;
    const auto found = std::find_if(all_codes_[t].begin(), all_codes_[t].end(),
                                    [&](const Code& c) { return c.spec == *spec; });
    if (found == all_codes_[t].end()) return std::nullopt;
    sum += found->cost;
  }
  return sum;
}

Json recipe_of_plan(const Plan& plan, const ModelConfig& config, const std::string& name,
                    const std::string& description, const std::string& why) {
  MeasuredDirectory directory;
  directory.config = config;
  directory.config.quantization.reset();
  for (const PlanRow& row : plan.rows) {
    MeasuredRow out;
    out.tensor = row.tensor;
    out.is_stored = true;
    out.affine = row.affine;
    if (row.affine) out.mode = "affine";
    out.dtype = row.dtype;
    directory.rows.push_back(std::move(out));
  }
  Json recipe = recipe_of(directory, name);
  recipe["description"] = description;
  recipe["why"] = why;
  if (recipe.contains("rules")) {
    for (Json& rule : recipe["rules"]) rule["why"] = why;
  }
  // What is written must mean what was measured.
  ResolveOptions options;
  options.tied_head = config.tie_word_embeddings;
  const Recipe parsed = parse_recipe(recipe.dump(), name, std::nullopt);
  options.dtype = parsed.dtype.value_or(config.dtype.value_or(DType::kBF16));
  const Plan again = resolve_plan(parsed, tensor_catalog(config), options);
  QX_CHECK(again.plan_hash() == plan.plan_hash() && again.tensor_bytes == plan.tensor_bytes);
  return recipe;
}

}  // namespace qx
