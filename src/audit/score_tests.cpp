// SPDX-License-Identifier: Apache-2.0
#include "audit/score_tests.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "stats/stats.h"

namespace qx {
namespace {

// Printed digits may be rounded or cut off.
bool prints_as(double exact, const PrintedScore& score) {
  const double above = exact - score.value;
  return above >= -score.half_unit * (1 + 1e-9) && above < score.half_unit * (2 - 1e-9);
}

bool some_count_gives(const PrintedScore& score, std::int64_t n) {
  const auto size = static_cast<double>(n);
  const auto first = static_cast<std::int64_t>(std::floor((score.value - score.half_unit) * size));
  const auto last =
      static_cast<std::int64_t>(std::ceil((score.value + 2 * score.half_unit) * size));
  for (std::int64_t k = std::max<std::int64_t>(first, 0); k <= std::min(last, n); ++k) {
    if (prints_as(static_cast<double>(k) / size, score)) return true;
  }
  return false;
}

void add_flags(const ScoreTable& table, std::size_t r, std::size_t v, TableTests& out) {
  const TaskRow& row = table.rows[r];
  const PrintedScore& score = *row.scores[v];
  const auto add = [&](ScoreFlagKind kind, std::string text) {
    out.flags.push_back({r, v, kind, std::move(text)});
  };
  if (score.value < 0 || score.value > 1) {
    add(ScoreFlagKind::kImpossibleValue, fmt::format("{} is no accuracy", score.value));
    return;
  }
  if (!row.items) return;
  const std::int64_t n = *row.items;
  const bool is_count = row.benchmark == nullptr || row.benchmark->is_count;
  if (is_count && n >= 20 && (score.value == 0 || score.value == 1)) {
    add(ScoreFlagKind::kExtreme,
        fmt::format("{} of all {} questions: not believable of any model; a broken evaluation",
                    score.value == 0 ? "none" : "all", n));
    return;
  }
  if (is_count && !some_count_gives(score, n)) {
    add(ScoreFlagKind::kImpossibleValue,
        fmt::format("no number of right answers out of {} gives {}; other items or a wrong figure",
                    n, score.value));
  }
  const Benchmark* benchmark = row.benchmark;
  if (benchmark == nullptr) return;
  // Among some of the questions the commonest answer has another share.
  const bool all_items = n == benchmark->items;
  if (all_items && benchmark->majority > 0 && prints_as(benchmark->majority, score)) {
    add(ScoreFlagKind::kMajorityShare,
        fmt::format(
            "{} is the share of the commonest answer ({:.5f} of {} questions): what a model "
            "scores that always gives it",
            score.value, benchmark->majority, n));
    return;
  }
  if (all_items && benchmark->majority > 0 && benchmark->two_answers &&
      prints_as(1 - benchmark->majority, score)) {
    add(ScoreFlagKind::kConstantAnswer,
        fmt::format("{} is 1 - {:.5f}: what a model scores that always gives the rarer answer",
                    score.value, benchmark->majority));
    return;
  }
  const double chance = benchmark->chance;
  if (chance > 0 && std::fabs(score.value - chance) <=
                        std::sqrt(chance * (1 - chance) / static_cast<double>(n))) {
    add(ScoreFlagKind::kChance,
        fmt::format("{} is within one standard error of guessing ({:.2f})", score.value, chance));
  }
}

bool says_no_information(ScoreFlagKind kind) {
  return kind != ScoreFlagKind::kChance && kind != ScoreFlagKind::kImpossibleValue;
}

ScoreTest two_proportions(double a, double b, std::int64_t n) {
  ScoreTest test;
  test.n = n;
  test.diff = a - b;
  test.z = two_proportion_z(b, n, a, n);
  test.p = two_sided_normal_p(test.z);
  if (b != 0) test.relative = test.diff / b;
  return test;
}

// carries_nothing: by row, then variant.
void test_pair(const ScoreTable& table, const std::vector<std::vector<bool>>& carries_nothing,
               std::size_t a, std::size_t b, TableTests& out) {
  const std::size_t first = out.tests.size();
  std::vector<double> p_values;
  AverageTest average{a, b};
  double variance = 0;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const TaskRow& row = table.rows[r];
    if (!row.counts || !row.scores[a] || !row.scores[b] || !row.items) continue;
    const double x = row.scores[a]->value, y = row.scores[b]->value;
    if (x < 0 || x > 1 || y < 0 || y > 1) continue;
    ScoreTest test = two_proportions(x, y, *row.items);
    test.row = r;
    test.a = a;
    test.b = b;
    test.informative = !carries_nothing[r][a] && !carries_nothing[r][b];
    p_values.push_back(test.p);
    if (test.informative) {
      ++average.tasks;
      average.diff += test.diff;
      variance += (x * (1 - x) + y * (1 - y)) / static_cast<double>(test.n);
    }
    out.tests.push_back(test);
  }
  const std::vector<double> adjusted = holm_adjust(p_values);
  for (std::size_t i = 0; i < adjusted.size(); ++i) out.tests[first + i].p_holm = adjusted[i];
  if (average.tasks == 0) return;
  average.diff /= average.tasks;
  const double error = std::sqrt(variance) / average.tasks;
  if (average.diff != 0 && error > 0) average.z = average.diff / error;
  average.p = two_sided_normal_p(average.z);
  out.averages.push_back(average);
}

}  // namespace

std::string score_flag_name(ScoreFlagKind kind) {
  switch (kind) {
    case ScoreFlagKind::kMajorityShare:
      return "majority_share";
    case ScoreFlagKind::kConstantAnswer:
      return "constant_answer";
    case ScoreFlagKind::kChance:
      return "chance";
    case ScoreFlagKind::kImpossibleValue:
      return "impossible_value";
    case ScoreFlagKind::kExtreme:
      return "extreme";
  }
  return "";
}

std::optional<ScoreTest> TableTests::find(std::size_t row, std::size_t a, std::size_t b) const {
  const std::tuple wanted(std::min(a, b), std::max(a, b), row);
  const auto at = std::lower_bound(tests.begin(), tests.end(), wanted,
                                   [](const ScoreTest& test, const auto& key) {
                                     return std::tuple(test.a, test.b, test.row) < key;
                                   });
  if (at == tests.end() || std::tuple(at->a, at->b, at->row) != wanted) return std::nullopt;
  if (at->a == a) return *at;
  ScoreTest turned = *at;
  std::swap(turned.a, turned.b);
  turned.diff = -turned.diff;
  turned.z = -turned.z;
  if (turned.relative) {
    turned.relative = *turned.relative > -1 ? std::optional(1 / (1 + *turned.relative) - 1)
                                            : std::optional<double>();
  }
  return turned;
}

std::optional<AverageTest> TableTests::find_average(std::size_t a, std::size_t b) const {
  const std::pair wanted(std::min(a, b), std::max(a, b));
  const auto at = std::lower_bound(
      averages.begin(), averages.end(), wanted,
      [](const AverageTest& test, const auto& key) { return std::pair(test.a, test.b) < key; });
  if (at == averages.end() || std::pair(at->a, at->b) != wanted) return std::nullopt;
  if (at->a == a) return *at;
  return AverageTest{a, b, at->tasks, -at->diff, -at->z, at->p};
}

bool TableTests::no_information(std::size_t row, std::size_t variant) const {
  return std::any_of(flags.begin(), flags.end(), [&](const ScoreFlag& f) {
    return f.row == row && f.variant == variant && says_no_information(f.kind);
  });
}

TableTests test_table(const ScoreTable& table) {
  TableTests out;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    for (std::size_t v = 0; v < table.variants.size(); ++v) {
      if (table.rows[r].scores[v]) add_flags(table, r, v, out);
    }
  }
  std::vector<std::vector<bool>> carries_nothing(table.rows.size(),
                                                 std::vector<bool>(table.variants.size()));
  for (const ScoreFlag& flag : out.flags) {
    if (says_no_information(flag.kind)) carries_nothing[flag.row][flag.variant] = true;
  }
  for (std::size_t a = 0; a < table.variants.size(); ++a) {
    for (std::size_t b = a + 1; b < table.variants.size(); ++b) {
      test_pair(table, carries_nothing, a, b, out);
    }
  }
  return out;
}

}  // namespace qx
