// What a score table claims about itself: its printed differences and averages.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>

#include "audit/claims.h"

namespace qx {
namespace {

void check_differences(const ScoreTable& table, std::vector<Claim>& claims) {
  if (table.variants.size() != 2) return;  // between which two, nobody says
  for (const TaskRow& row : table.rows) {
    if (!row.difference || !row.scores[0] || !row.scores[1]) continue;
    const PrintedScore &a = *row.scores[0], &b = *row.scores[1], &printed = *row.difference;
    const double actual = std::fabs(a.value - b.value);
    const double slack = (a.half_unit + b.half_unit + printed.half_unit) * (1 + 1e-9);
    if (std::fabs(actual - std::fabs(printed.value)) <= slack) continue;
    claims.push_back({fmt::format("{}: a printed difference of {:+.4g}", row.task, printed.value),
                      ClaimVerdict::kContradicted,
                      fmt::format("{:.4g} and {:.4g} differ by {:.4g}", a.value, b.value, actual)});
  }
}

void check_averages(const ScoreTable& table, std::vector<Claim>& claims) {
  for (std::size_t v = 0; v < table.average.size(); ++v) {
    if (!table.average[v]) continue;
    double sum = 0, slack = table.average[v]->half_unit;
    bool complete = true;
    for (const TaskRow& row : table.rows) {
      complete = complete && row.scores[v];
      if (!row.scores[v]) continue;
      sum += row.scores[v]->value;
      slack += row.scores[v]->half_unit / static_cast<double>(table.rows.size());
    }
    const double mean = sum / static_cast<double>(table.rows.size());
    const bool right = std::fabs(mean - table.average[v]->value) <= slack * (1 + 1e-9);
    if (!complete || right) continue;
    claims.push_back(
        {fmt::format("{}: a printed average of {:.4g}", table.variants[v], table.average[v]->value),
         ClaimVerdict::kContradicted,
         fmt::format("the mean of its {} scores is {:.4g}", table.rows.size(), mean)});
  }
}

}  // namespace

std::vector<Claim> judge_table(const ScoreTable& table) {
  std::vector<Claim> claims;
  check_differences(table, claims);
  check_averages(table, claims);
  return claims;
}

}  // namespace qx
