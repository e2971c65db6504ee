// SPDX-License-Identifier: Apache-2.0
#include "runs/choice_metric.h"

#include <algorithm>
#include <limits>

namespace qx {
namespace {

double value_of(const ChoiceAnswer& choice, ChoiceMetric metric) {
  switch (metric) {
    case ChoiceMetric::kAcc:
      return choice.ll;
    case ChoiceMetric::kAccNorm:
      return choice.ll / static_cast<double>(choice.chars);
    case ChoiceMetric::kAccBytes:
      return choice.ll / static_cast<double>(choice.bytes);
    case ChoiceMetric::kAccToken:
      return choice.ll / static_cast<double>(choice.tokens);
  }
  return choice.ll;
}

}  // namespace

std::string_view choice_metric_name(ChoiceMetric metric) {
  switch (metric) {
    case ChoiceMetric::kAcc:
      return "acc";
    case ChoiceMetric::kAccNorm:
      return "acc_norm";
    case ChoiceMetric::kAccBytes:
      return "acc_bytes";
    case ChoiceMetric::kAccToken:
      return "acc_token";
  }
  return "";
}

std::optional<ChoiceMetric> find_choice_metric(std::string_view name) {
  for (const ChoiceMetric metric : kChoiceMetrics) {
    if (choice_metric_name(metric) == name) return metric;
  }
  return std::nullopt;
}

bool has_choice_metric(const std::vector<ChoiceAnswer>& choices, ChoiceMetric metric) {
  return metric != ChoiceMetric::kAccToken ||
         std::all_of(choices.begin(), choices.end(),
                     [](const ChoiceAnswer& c) { return c.tokens > 0; });
}

std::vector<double> choice_values(const std::vector<ChoiceAnswer>& choices, ChoiceMetric metric) {
  std::vector<double> values;
  for (const ChoiceAnswer& choice : choices) values.push_back(value_of(choice, metric));
  return values;
}

std::size_t picked_choice(const std::vector<ChoiceAnswer>& choices, ChoiceMetric metric) {
  return picked_choice(choices, choice_metric_name(metric));
}

double gold_margin(const std::vector<ChoiceAnswer>& choices, int gold, ChoiceMetric metric) {
  if (choices.size() < 2) return std::numeric_limits<double>::quiet_NaN();
  double best_other = -std::numeric_limits<double>::infinity();
  for (std::size_t c = 0; c < choices.size(); ++c) {
    if (static_cast<int>(c) != gold)
      best_other = std::max(best_other, value_of(choices[c], metric));
  }
  return value_of(choices[static_cast<std::size_t>(gold)], metric) - best_other;
}

ChoiceMetric default_choice_metric(const Answer& answer) {
  return answer.acc_norm ? ChoiceMetric::kAccNorm : ChoiceMetric::kAcc;
}

}  // namespace qx
