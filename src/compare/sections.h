// The sections of a comparison's document, each made from values alone. Names are already safe to
// print.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compare/comparison.h"
#include "compare/document.h"

namespace qx {

Section scores_section(const Comparison& comparison);
// Sizes, speed, distance; nothing when no run has any.
std::optional<Section> cost_section(const Comparison& comparison);
Section pair_section(const Comparison& comparison, const PairSummary& pair);
Section changes_section(const Comparison& comparison);

// Cells: a number that does not exist is "-".
std::string signed_points(double difference);           // "-2.1"
std::string interval_points(const Interval& interval);  // "-3.4 to -0.8"
std::string p_text(double p);                           // "0.015", "<0.001"
std::string with_error(double value, double error);     // "0.611 ±0.005"
std::string signed_decimals(double value);              // "-1.2345"
Tone tone_of(Verdict verdict);
std::string mark_of(Verdict verdict);  // ▲ ▼ =, and nothing for indistinguishable

// What the marks mean, of the verdicts that are in a table: "▼ worse, no mark: indistinguishable".
// margin stands behind "equivalent".
std::string legend(const std::vector<Verdict>& used, std::string_view indistinguishable,
                   std::string_view margin);

}  // namespace qx
