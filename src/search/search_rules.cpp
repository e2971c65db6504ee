// SPDX-License-Identifier: Apache-2.0
#include "search/search_rules.h"

#include <charconv>

#include "arch/catalog.h"
#include "base/byte_size.h"
#include "base/error.h"
#include "base/parse_double.h"
#include "quant/affine.h"
#include "recipe/recipe.h"
#include "recipe/summary.h"

namespace qx {
namespace {

std::optional<double> parse_positive(std::string_view text) {
  const std::optional<double> value = parse_double(text);
  return value && *value > 0 ? value : std::nullopt;
}

std::optional<int> parse_small(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string_view alike_name(Alike alike) {
  if (alike == Alike::kInputs) return "inputs";
  return alike == Alike::kRoles ? "roles" : "none";
}

KeepRule parse_keep(std::string_view text) {
  const auto refuse = [&]() -> UsageError {
    return UsageError(
        fmt::format("--keep: got '{}', expected PATTERN=BITS, PATTERN=BITS/GROUP or PATTERN=float, "
                    "such as '*v_proj=6', with 2, 3, 4, 5, 6 or 8 bits and groups of 32, 64 or 128",
                    text));
  };
  const std::size_t equals = text.rfind('=');
  if (equals == std::string_view::npos || equals == 0) throw refuse();
  KeepRule rule;
  rule.pattern = text.substr(0, equals);
  const std::string_view value = text.substr(equals + 1);
  if (value == "float") return rule;
  const std::size_t slash = value.find('/');
  const std::optional<int> bits = parse_small(value.substr(0, slash));
  const std::optional<int> group =
      slash == std::string_view::npos ? std::optional(32) : parse_small(value.substr(slash + 1));
  if (!bits || !group || !is_valid({*bits, *group})) throw refuse();
  rule.bits = *bits;
  rule.group = slash == std::string_view::npos ? 0 : *group;
  return rule;
}

std::int64_t parse_budget(std::string_view text, const ModelConfig& config,
                          std::optional<DType> dtype) {
  if (text.starts_with("like:")) {
    return plan_of_recipe(fmt::format("--budget {}", text), std::string(text.substr(5)), config,
                          dtype)
        .tensor_bytes;
  }
  if (text.ends_with("bpw")) {
    const std::optional<double> bits = parse_positive(text.substr(0, text.size() - 3));
    if (bits && *bits <= 64) {
      const auto weights = static_cast<double>(parameter_count(tensor_catalog(config)));
      return static_cast<std::int64_t>(*bits * weights / 8);
    }
  } else if (const std::optional<double> bytes = parse_positive(text)) {
    if (*bytes < 0x1p62) return static_cast<std::int64_t>(*bytes);
  } else {
    try {
      return parse_bytes(text, "--budget");
    } catch (const UsageError&) {
      // it is no other form either: all are named below
    }
  }
  throw UsageError(fmt::format(
      "--budget: got '{}', expected a size such as 80.9MB, bits per weight such as 4.6bpw, or "
      "like:RECIPE",
      text));
}

Plan plan_of_recipe(const std::string& option, const std::string& recipe, const ModelConfig& config,
                    std::optional<DType> dtype) {
  PlanRequest request;
  request.recipe = recipe;
  request.dtype = dtype;
  const std::optional<DType> own = find_recipe(recipe).dtype;
  if (own && dtype && *own != *dtype) {
    throw UsageError(
        fmt::format("{}: the recipe stores {}, expected one of the type of the search's plans, {}",
                    option, float_dtype_config_name(*own), float_dtype_config_name(*dtype)));
  }
  return make_plan(config, request);
}

}  // namespace qx
