// The metrics that pick a choice from its log-likelihood and length.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "runs/answer_log.h"

namespace qx {

// acc: ll. acc_norm: ll / code points. acc_bytes: ll / UTF-8 bytes. acc_token: ll / scored tokens.
enum class ChoiceMetric { kAcc, kAccNorm, kAccBytes, kAccToken };

inline constexpr std::array kChoiceMetrics = {ChoiceMetric::kAcc, ChoiceMetric::kAccNorm,
                                              ChoiceMetric::kAccBytes, ChoiceMetric::kAccToken};

std::string_view choice_metric_name(ChoiceMetric metric);  // "acc", "acc_norm", ..
std::optional<ChoiceMetric> find_choice_metric(std::string_view name);

// False for acc_token when the answer does not say how many tokens were scored (an imported run).
bool has_choice_metric(const std::vector<ChoiceAnswer>& choices, ChoiceMetric metric);

// What the metric compares, for each choice.
std::vector<double> choice_values(const std::vector<ChoiceAnswer>& choices, ChoiceMetric metric);

// picked_choice (answer_log.h) by a metric of this list.
std::size_t picked_choice(const std::vector<ChoiceAnswer>& choices, ChoiceMetric metric);

// Value of the gold choice less the largest of the others: above 0 right, below 0 wrong, in the metric's
// unit (nats, or nats a character, byte or token). NaN when both are -infinity, and for a cloze question.
double gold_margin(const std::vector<ChoiceAnswer>& choices, int gold, ChoiceMetric metric);

// The metric by which an answer counts unless one is asked for: acc_norm where the task has it, else acc.
ChoiceMetric default_choice_metric(const Answer& answer);

}  // namespace qx
