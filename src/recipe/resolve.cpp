// SPDX-License-Identifier: Apache-2.0
#include "recipe/resolve.h"

#include <algorithm>

#include "base/error.h"

namespace qx {
namespace {

std::vector<bool> layers_of(const std::vector<LayerSet>& sets, std::int64_t layers) {
  std::vector<bool> member(static_cast<std::size_t>(layers), false);
  for (const LayerSet& set : sets) {
    const std::int64_t from = set.from.resolve(layers);
    if (set.every == 0) {
      if (from >= 0 && from < layers) member[static_cast<std::size_t>(from)] = true;
      continue;
    }
    const std::int64_t before = set.before ? std::min(layers, set.before->resolve(layers)) : layers;
    for (std::int64_t i = std::max<std::int64_t>(from, 0) + set.offset; i < before;
         i += set.every) {
      member[static_cast<std::size_t>(i)] = true;
    }
  }
  return member;
}

// A rule with its layers worked out, and what it met.
struct ActiveRule {
  const Rule* rule = nullptr;
  std::vector<bool> layers;
  bool fits_any = false;  // also tensors that an earlier rule took
  bool takes_any = false;

  bool fits(const CatalogTensor& tensor) const {
    if (rule->layers && (tensor.layer < 0 || !layers[static_cast<std::size_t>(tensor.layer)])) {
      return false;
    }
    if (rule->roles &&
        std::find(rule->roles->begin(), rule->roles->end(), tensor.role) == rule->roles->end()) {
      return false;
    }
    const auto& patterns = rule->patterns;
    return patterns.empty() || std::any_of(patterns.begin(), patterns.end(), [&](const auto& p) {
             return glob_match(p, tensor.module) || glob_match(p, tensor.name);
           });
  }
};

bool only_of_head(const Rule& rule) {
  if (rule.roles) {
    return std::all_of(rule.roles->begin(), rule.roles->end(),
                       [](Role role) { return role == Role::kHead; });
  }
  return !rule.patterns.empty() &&
         std::all_of(rule.patterns.begin(), rule.patterns.end(),
                     [](const std::string& p) { return p.find("lm_head") != std::string::npos; });
}

class Resolver {
 public:
  Resolver(const Recipe& recipe, const std::vector<CatalogTensor>& catalog,
           const ResolveOptions& options)
      : recipe_(recipe), catalog_(catalog), options_(options) {
    std::int64_t layers = 0;
    for (const CatalogTensor& tensor : catalog) {
      layers = std::max<std::int64_t>(layers, tensor.layer + 1);
    }
    for (const Rule& rule : recipe.rules) {
      rules_.push_back(
          {&rule, rule.layers ? layers_of(*rule.layers, layers) : std::vector<bool>{}});
    }
  }

  Plan resolve() {
    plan_.recipe = recipe_.name;
    plan_.default_spec = recipe_.spec;
    for (const CatalogTensor& tensor : catalog_) plan_.rows.push_back(decide(tensor));
    finish_plan(plan_);
    lint();
    return std::move(plan_);
  }

 private:
  PlanRow as_float(const CatalogTensor& tensor, const std::string& why) const {
    return make_row(tensor, std::nullopt, options_.dtype, fmt::format("{}: {}", recipe_.name, why));
  }

  // Takes note of every rule that fits; the first one decides.
  const Rule* first_rule(const CatalogTensor& tensor) {
    ActiveRule* first = nullptr;
    for (ActiveRule& active : rules_) {
      if (!active.fits(tensor)) continue;
      active.fits_any = true;
      if (first == nullptr) first = &active;
    }
    if (first == nullptr) return nullptr;
    first->takes_any = true;
    return first->rule;
  }

  PlanRow decide(const CatalogTensor& tensor) {
    if (!tensor.quantizable) {
      return as_float(tensor,
                      tensor.role == Role::kBias ? "biases stay in float" : "norms stay in float");
    }
    const Rule* rule = first_rule(tensor);
    if (rule == nullptr && recipe_.is_float) return as_float(tensor, recipe_.why);
    if (rule != nullptr && rule->is_float) return as_float(tensor, rule->why);
    AffineSpec spec = rule != nullptr ? rule->spec : recipe_.spec;
    std::string why = rule != nullptr ? rule->why : recipe_.why;
    bool named = rule != nullptr;
    const auto floor = recipe_.floors.find(tensor.role);
    if (floor != recipe_.floors.end() && spec.bits < floor->second.bits &&
        !(tensor.role == Role::kRouter && rule != nullptr && rule->names_router)) {
      spec = floor->second;
      why = fmt::format("floor: a {} is never below {} bits", role_name(tensor.role), spec.bits);
      named = true;
    }
    const std::int64_t cols = tensor.shape.back();
    for (const int group : {recipe_.spec.group, spec.group}) {
      if (cols % group == 0) continue;
      undivided_.push_back(fmt::format("{} ({} columns, group {})", tensor.module, cols, group));
      return as_float(
          tensor, fmt::format("kept in float, {} columns are not a multiple of {}", cols, group));
    }
    PlanRow row = make_row(tensor, spec, options_.dtype, fmt::format("{}: {}", recipe_.name, why));
    row.named = named;
    return row;
  }

  void lint() {
    for (std::size_t i = 0; i < rules_.size(); ++i) lint_rule(rules_[i], i);
    if (!undivided_.empty()) {
      constexpr std::size_t kShown = 3;
      std::string list;
      for (std::size_t i = 0; i < std::min(kShown, undivided_.size()); ++i) {
        list += (i == 0 ? "" : ", ") + undivided_[i];
      }
      if (undivided_.size() > kShown) {
        list += fmt::format(" and {} more", undivided_.size() - kShown);
      }
      plan_.warnings.push_back(fmt::format(
          "{} of the tensors to quantize stay in float, because the group does not divide their "
          "input dimension: {}",
          undivided_.size(), list));
    }
    if (!plan_.quantizes && !recipe_.is_float) {
      plan_.warnings.push_back("nothing is quantized: every tensor stays in float");
    }
    warn_of_thin_tensors(plan_, options_.tied_head);
  }

  void lint_rule(const ActiveRule& active, std::size_t index) {
    if (active.takes_any) return;
    const std::string which =
        fmt::format("{}: rules[{}] ({})", recipe_.origin, index, active.rule->why);
    if (active.fits_any) {
      plan_.warnings.push_back(which + " decides nothing: earlier rules take all that it fits");
    } else if (options_.tied_head && only_of_head(*active.rule)) {
      plan_.warnings.push_back(which +
                               " matches nothing: the head is tied to the embeddings, whose "
                               "width it has");
    } else {
      plan_.warnings.push_back(which + " matches nothing in this model");
    }
  }

  const Recipe& recipe_;
  const std::vector<CatalogTensor>& catalog_;
  ResolveOptions options_;
  std::vector<ActiveRule> rules_;
  std::vector<std::string> undivided_;
  Plan plan_;
};

}  // namespace

Plan resolve_plan(const Recipe& recipe, const std::vector<CatalogTensor>& catalog,
                  const ResolveOptions& options) {
  return Resolver(recipe, catalog, options).resolve();
}

PlanRow make_row(const CatalogTensor& tensor, std::optional<AffineSpec> spec, DType dtype,
                 std::string rule) {
  PlanRow row{tensor, spec, dtype, 0, std::move(rule), false};
  const auto count = element_count(tensor.shape);
  QX_CHECK(count.has_value());
  if (spec) {
    const std::int64_t cols = tensor.shape.back();
    row.bytes = affine_bytes({*count / cols, cols}, *spec, dtype);
  } else {
    row.bytes = *count * static_cast<std::int64_t>(dtype_bytes(dtype));
  }
  return row;
}

void finish_plan(Plan& plan) {
  plan.parameters = 0;
  plan.tensor_bytes = 0;
  plan.quantizes = false;
  for (const PlanRow& row : plan.rows) {
    plan.parameters += element_count(row.tensor.shape).value_or(0);
    plan.tensor_bytes += row.bytes;
    plan.quantizes = plan.quantizes || row.affine.has_value();
  }
  plan.bits_per_weight =
      8.0 * static_cast<double>(plan.tensor_bytes) / static_cast<double>(plan.parameters);
}

void warn_of_thin_tensors(Plan& plan, bool tied_head) {
  int routers = 0, router_bits = 8;
  for (const PlanRow& row : plan.rows) {
    if (!row.affine) continue;
    if (row.tensor.role == Role::kRouter && row.affine->bits < 8) {
      ++routers;
      router_bits = std::min(router_bits, row.affine->bits);
    }
    if (tied_head && row.tensor.role == Role::kEmbedding && row.affine->bits <= 3) {
      plan.warnings.push_back(fmt::format(
          "the output head is tied to {}, which is stored at {} bits; 4 or more are usual for a "
          "head",
          row.tensor.module, row.affine->bits));
    }
  }
  if (routers > 0) {
    plan.warnings.push_back(fmt::format(
        "{} routers are below 8 bits (down to {}); mlx-lm's own default keeps them at 8", routers,
        router_bits));
  }
}

}  // namespace qx
