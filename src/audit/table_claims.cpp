// What a score table claims about itself: its printed differences and averages.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
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

// Which rows an average may be of: it seldom says, and tables hold tasks that are not ours to know.
enum class Rows { kCounted, kKnown, kKnownCounted, kAll };

bool is_in(const TaskRow& row, Rows rows) {
  const bool known = row.benchmark != nullptr;
  return rows == Rows::kCounted        ? row.counts
         : rows == Rows::kKnown        ? known
         : rows == Rows::kKnownCounted ? known && row.counts
                                       : true;
}

struct Mean {
  double value = 0, slack = 0;  // slack: what rounding of the scores may do to it
  std::size_t scores = 0;
};

Mean mean_of(const ScoreTable& table, Rows rows, std::size_t variant) {
  Mean mean;
  for (const TaskRow& row : table.rows) {
    if (!is_in(row, rows) || !row.scores[variant]) continue;
    mean.value += row.scores[variant]->value;
    mean.slack += row.scores[variant]->half_unit;
    ++mean.scores;
  }
  if (mean.scores > 0) {
    mean.value /= static_cast<double>(mean.scores);
    mean.slack /= static_cast<double>(mean.scores);
  }
  return mean;
}

void check_averages(const ScoreTable& table, std::vector<Claim>& claims) {
  for (std::size_t v = 0; v < table.average.size(); ++v) {
    if (!table.average[v]) continue;
    const PrintedScore& printed = *table.average[v];
    const bool complete =
        std::all_of(table.rows.begin(), table.rows.end(),
                    [v](const TaskRow& row) { return row.scores[v].has_value(); });
    const auto fits = [&](Rows rows) {
      const Mean mean = mean_of(table, rows, v);
      return mean.scores > 0 &&
             std::fabs(mean.value - printed.value) <= (mean.slack + printed.half_unit) * (1 + 1e-9);
    };
    if (!complete || fits(Rows::kCounted) || fits(Rows::kKnown) || fits(Rows::kKnownCounted) ||
        fits(Rows::kAll)) {
      continue;
    }
    const Mean mean = mean_of(table, Rows::kCounted, v);
    claims.push_back(
        {fmt::format("{}: a printed average of {:.4g}", table.variants[v], printed.value),
         ClaimVerdict::kContradicted,
         fmt::format("the mean of its {} scores is {:.4g}", mean.scores, mean.value)});
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
