// SPDX-License-Identifier: Apache-2.0
#include "compare/standing.h"

#include "stats/stats.h"

namespace qx {
namespace {

Verdict verdict_in(const Scope& scope, const PairSummary& pair, std::size_t task, std::size_t a) {
  const Difference& d = pair.tasks[task];
  Verdict verdict = d.verdict;
  if (scope.unsure.contains({&pair, task})) {
    verdict = d.within_margin ? Verdict::kEquivalent : Verdict::kIndistinguishable;
  }
  return pair.variant == a ? verdict : reversed(verdict);
}

// Whether a run is worse than the baseline. One that gives a single answer as the baseline does has
// lost nothing.
bool lost(const Comparison& c, std::size_t run, std::size_t task) {
  if (run == c.baseline) return false;
  const PairSummary& pair = pair_of(c, c.baseline, run);
  const Verdict verdict = pair.tasks[task].verdict;
  return (pair.variant == run ? verdict : reversed(verdict)) == Verdict::kWorse;
}

void find_unsure(const Comparison& c, Scope& scope) {
  std::vector<std::pair<const PairSummary*, std::size_t>> tests;
  std::vector<double> p_values;
  const Runs among = candidates(c);
  for (std::size_t i = 0; i < among.size(); ++i) {
    for (std::size_t j = i + 1; j < among.size(); ++j) {
      const PairSummary& pair = pair_of(c, among[i], among[j]);
      for (const auto* list : {&scope.tasks, &scope.left_out}) {
        for (const std::size_t t : *list) {
          tests.emplace_back(&pair, t);
          p_values.push_back(pair.tasks[t].p);
        }
      }
    }
  }
  const std::vector<double> adjusted = holm_adjust(p_values);
  for (std::size_t i = 0; i < tests.size(); ++i) {
    const Verdict verdict = tests[i].first->tasks[tests[i].second].verdict;
    const bool shown = verdict == Verdict::kBetter || verdict == Verdict::kWorse;
    if (shown && !(adjusted[i] < kAlpha)) scope.unsure.insert(tests[i]);
  }
}

}  // namespace

std::vector<std::size_t> tasks_lost(const Comparison& c, const PairSummary& pair) {
  std::vector<std::size_t> out;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    if (!c.tasks[t].informative && pair.tasks[t].verdict == Verdict::kWorse) out.push_back(t);
  }
  return out;
}

Runs candidates(const Comparison& c) {
  Runs out;
  for (std::size_t r = 0; r < c.runs.size(); ++r) {
    if (r != c.baseline || c.runs.size() == 2) out.push_back(r);
  }
  return out;
}

Scope make_scope(const Comparison& c, const std::vector<std::size_t>& tasks, bool average) {
  Scope scope;
  scope.average = average;
  for (const std::size_t t : tasks) {
    (c.tasks[t].informative ? scope.tasks : scope.left_out).push_back(t);
  }
  find_unsure(c, scope);
  return scope;
}

Standing standing(const Comparison& c, const Scope& scope, std::size_t a, std::size_t b) {
  const PairSummary& pair = pair_of(c, a, b);
  bool better = false, worse = false, open = scope.tasks.empty(), other_lost = false;
  const auto count = [&](Verdict verdict) {
    better = better || verdict == Verdict::kBetter;
    worse = worse || verdict == Verdict::kWorse;
    open = open || verdict == Verdict::kIndistinguishable;
  };
  for (const std::size_t t : scope.tasks) count(verdict_in(scope, pair, t, a));
  if (scope.average && pair.average) {
    const Verdict verdict = pair.average->verdict;
    count(pair.variant == a ? verdict : reversed(verdict));
  }
  for (const std::size_t t : scope.left_out) {
    const Verdict verdict = verdict_in(scope, pair, t, a);
    worse = worse || (verdict == Verdict::kWorse && lost(c, a, t));
    other_lost = other_lost || (verdict == Verdict::kBetter && lost(c, b, t));
  }
  if (worse && (better || other_lost)) return Standing::kMixed;
  if (worse) return Standing::kBehind;
  if (better) return Standing::kAhead;
  if (other_lost) return Standing::kUndecided;  // nothing gained, so not ahead
  // Where all tasks are meant, being equivalent is about their average: each task alone has too few
  // items.
  if (scope.average && pair.average) {
    return pair.average->verdict == Verdict::kEquivalent ? Standing::kEquivalent
                                                         : Standing::kUndecided;
  }
  return open ? Standing::kUndecided : Standing::kEquivalent;
}

}  // namespace qx
