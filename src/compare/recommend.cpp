// SPDX-License-Identifier: Apache-2.0
#include "compare/recommend.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"
#include "compare/standing.h"
#include "compare/uses.h"
#include "compare/words.h"

namespace qx {
namespace {

Scope whole(const Comparison& c) {
  std::vector<std::size_t> all(c.tasks.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return make_scope(c, all, true);
}

bool ahead_of_all(const Comparison& c, const Scope& scope, std::size_t a, const Runs& among) {
  return std::all_of(among.begin(), among.end(), [&](std::size_t b) {
    return a == b || standing(c, scope, a, b) == Standing::kAhead;
  });
}

// Runs that none of the others is ahead of.
Runs not_behind(const Comparison& c, const Scope& scope, const Runs& among) {
  Runs out;
  for (const std::size_t a : among) {
    if (std::none_of(among.begin(), among.end(), [&](std::size_t b) {
          return a != b && standing(c, scope, a, b) == Standing::kBehind;
        })) {
      out.push_back(a);
    }
  }
  return out;
}

bool all_pairs(const Comparison& c, const Scope& scope, const Runs& runs, Standing wanted) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (std::size_t j = i + 1; j < runs.size(); ++j) {
      if (standing(c, scope, runs[i], runs[j]) != wanted) return false;
    }
  }
  return true;
}

bool any_pair(const Comparison& c, const Scope& scope, const Runs& runs, Standing wanted) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (std::size_t j = i + 1; j < runs.size(); ++j) {
      if (standing(c, scope, runs[i], runs[j]) == wanted) return true;
    }
  }
  return false;
}

// The first of the smallest; nothing when a run does not record its size.
std::optional<std::size_t> smallest(const Comparison& c, const Runs& among) {
  std::optional<std::size_t> best;
  for (const std::size_t r : among) {
    if (!c.runs[r].tensor_bytes) return std::nullopt;
    if (!best || *c.runs[r].tensor_bytes < *c.runs[*best].tensor_bytes) best = r;
  }
  return best;
}

// As many as are as small as `run`, which is the smallest of them.
Runs equally_small(const Comparison& c, const Runs& among, std::size_t run) {
  Runs out;
  for (const std::size_t r : among) {
    if (c.runs[r].tensor_bytes == c.runs[run].tensor_bytes) out.push_back(r);
  }
  return out;
}

// The smallest where there is one.
std::optional<std::size_t> single_smallest(const Comparison& c, const Runs& among) {
  const auto s = smallest(c, among);
  return s && equally_small(c, among, *s).size() == 1 ? s : std::nullopt;
}

std::vector<std::string> names_of(const Comparison& c, const Runs& runs) {
  std::vector<std::string> out;
  for (const std::size_t r : runs) out.push_back(c.runs[r].name);
  return out;
}

// How many more items would tell these runs apart, or show them to be equivalent: of the run with
// the highest score against each other one, the most; nothing when that is not known for all.
std::optional<std::int64_t> items_to_decide(const Comparison& c, const Scope& scope,
                                            const Runs& runs) {
  const auto score = [&](std::size_t r) {
    double sum = 0;
    for (const std::size_t t : scope.tasks) {
      if (c.tasks[t].informative) sum += c.tasks[t].scores[r].accuracy;
    }
    return sum;
  };
  const auto leader = std::max_element(
      runs.begin(), runs.end(), [&](std::size_t a, std::size_t b) { return score(a) < score(b); });
  std::optional<std::int64_t> most;
  for (const std::size_t other : runs) {
    if (other == *leader || standing(c, scope, *leader, other) != Standing::kUndecided) continue;
    const PairSummary& pair = pair_of(c, *leader, other);
    std::optional<std::int64_t> fewest;
    const auto consider = [&](const std::optional<std::int64_t>& items) {
      if (items && (!fewest || *items < *fewest)) fewest = items;
    };
    // Of one task the average asks the same, and is answered elsewhere on the page.
    const bool same = scope.tasks.size() == 1 && pair.average && pair.average->tasks == 1 &&
                      c.tasks[scope.tasks[0]].n >= 2;
    if (pair.average && (scope.average || same)) {
      consider(pair.average->items_needed);
    } else {
      for (const std::size_t t : scope.tasks) consider(pair.tasks[t].items_needed);
    }
    if (!fewest) return std::nullopt;
    most = std::max(most.value_or(0), *fewest);
  }
  return most;
}

std::string more_items_words(const std::optional<std::int64_t>& items) {
  return items ? fmt::format("; {} more items would", about_words(*items)) : "";
}

std::string tasks_of(const Comparison& c, const std::vector<std::size_t>& tasks) {
  std::vector<std::string> names;
  for (const std::size_t t : tasks) names.push_back(c.tasks[t].task);
  return join_words(names);
}

// Where a choice over all tasks is made: those that are left out are not claimed.
std::string place_of_whole(const Comparison& c, const Scope& scope) {
  constexpr std::size_t kMostNames = 3;
  if (c.tasks.size() == 1) return "on " + c.tasks[0].task;
  if (scope.left_out.empty()) return "on all tasks and the average";
  if (scope.tasks.empty()) return "on any task";
  if (scope.tasks.size() == 1) return "on " + c.tasks[scope.tasks[0]].task;
  if (scope.tasks.size() > kMostNames) {
    return fmt::format("on the {} tasks with information and the average", scope.tasks.size());
  }
  std::vector<std::string> names;
  for (const std::size_t t : scope.tasks) names.push_back(c.tasks[t].task);
  names.emplace_back("the average");
  return "on " + join_words(names);
}

// The choice by score within a scope. where: "on hellaswag", "on every task and on the average".
Recommendation by_score(const Comparison& c, const Scope& scope, const std::string& use,
                        const std::string& where) {
  const Runs among = candidates(c);
  Recommendation r{use, {}, {}, Verdict::kIndistinguishable, {}};
  for (const std::size_t a : among) {
    if (!ahead_of_all(c, scope, a, among)) continue;
    r.choice = c.runs[a].name;
    r.verdict = Verdict::kBetter;
    if (scope.tasks.size() == 1) {
      r.because = fmt::format("better {} than {}", where,
                              c.runs.size() == 2 ? "the other" : "every other variant");
    } else {
      r.because = fmt::format("against each other one better {}, and worse on none of them",
                              scope.average ? "on at least one task or on the average"
                                            : "on at least one of " + tasks_of(c, scope.tasks));
    }
    return r;
  }
  const Runs leading = not_behind(c, scope, among);
  Runs behind;
  for (const std::size_t a : among) {
    if (std::find(leading.begin(), leading.end(), a) == leading.end()) behind.push_back(a);
  }
  if (leading.size() > 1 && all_pairs(c, scope, leading, Standing::kEquivalent)) {
    const auto s = single_smallest(c, leading);
    r.verdict = Verdict::kEquivalent;
    if (s) r.choice = c.runs[*s].name;
    r.because = fmt::format("{} are equivalent {} within {}{}", join_words(names_of(c, leading)),
                            scope.average ? "on the average" : where, margin_words(c.margin),
                            s ? ", and it is the smallest" : "");
  } else if (any_pair(c, scope, leading, Standing::kMixed)) {
    r.because = fmt::format("between {} it depends on the task", join_words(names_of(c, leading)));
  } else if (leading.empty()) {
    r.because = fmt::format("each of {} is behind another one", join_words(names_of(c, among)));
  } else if (leading.size() == 1) {
    r.because =
        fmt::format("{} is behind none, but not ahead of every other one", c.runs[leading[0]].name);
    r.more_items = items_to_decide(c, scope, among);
    r.because += more_items_words(r.more_items);
  } else {
    r.because = fmt::format("the data do not decide between {} {}",
                            join_words(names_of(c, leading)), where);
    r.more_items = items_to_decide(c, scope, leading);
    r.because += more_items_words(r.more_items);
  }
  if (!behind.empty() && leading.size() > 1) {
    r.because += fmt::format("; behind another one: {}", join_words(names_of(c, behind)));
  }
  return r;
}

Verdict average_verdict(const Comparison& c, std::size_t run) {
  if (run == c.baseline) return Verdict::kIndistinguishable;
  const PairSummary& pair = pair_of(c, c.baseline, run);
  return pair.average ? pair.average->verdict : Verdict::kIndistinguishable;
}

// What a choice by size or speed costs.
std::string quality_words(const Comparison& c, std::size_t run) {
  if (run == c.baseline) return "; the baseline itself";
  const PairSummary& pair = pair_of(c, c.baseline, run);
  const std::vector<std::size_t> lost = tasks_lost(c, pair);
  std::string text = "; " + average_clause(c, pair);
  if (!lost.empty()) text += fmt::format("; worse on {}, which it leaves out", tasks_of(c, lost));
  return text;
}

Recommendation smallest_of_all(const Comparison& c) {
  Recommendation r{"smallest", {}, {}, Verdict::kIndistinguishable, {}};
  const auto s = smallest(c, candidates(c));
  if (!s) {
    r.because = "the runs do not record their sizes";
    return r;
  }
  const Runs equals = equally_small(c, candidates(c), *s);
  if (equals.size() > 1) {
    r.because = fmt::format("{} are equally small ({})", join_words(names_of(c, equals)),
                            size_words(*c.runs[*s].tensor_bytes));
    return r;
  }
  r.choice = c.runs[*s].name;
  r.verdict = average_verdict(c, *s);
  r.because = size_words(*c.runs[*s].tensor_bytes) + quality_words(c, *s);
  return r;
}

bool worse_on_a_task(const PairSummary& pair, const Comparison& c) {
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    const Difference& d = pair.tasks[t];
    if (d.verdict == Verdict::kWorse && !d.within_margin) return true;
  }
  return false;
}

// Not behind the baseline for certain: equivalent or better on the average or worse by less than
// the margin, and on no task worse by the margin or more as far as the data show.
bool is_as_good(const Comparison& c, const PairSummary& pair) {
  if (!pair.average || worse_on_a_task(pair, c)) return false;
  return pair.average->within_margin || pair.average->verdict == Verdict::kBetter;
}

Recommendation smallest_equivalent(const Comparison& c) {
  const std::string& base = c.runs[c.baseline].name;
  Recommendation r{"smallest equivalent to " + base, {}, {}, Verdict::kIndistinguishable, {}};
  Runs good, open;
  bool any_average = false;
  for (const PairSummary& pair : c.against_baseline) {
    any_average = any_average || pair.average.has_value();
    if (is_as_good(c, pair)) good.push_back(pair.variant);
    if (pair.average && pair.average->verdict == Verdict::kIndistinguishable &&
        !worse_on_a_task(pair, c)) {
      open.push_back(pair.variant);
    }
  }
  const auto s = smallest(c, good);
  if (!smallest(c, Runs{c.baseline}) || (!good.empty() && !s)) {
    r.because = "the runs do not record their sizes";
    return r;
  }
  const auto candidate = smallest(c, open);
  const auto is_smaller = [&](std::size_t run, std::size_t than) {
    return *c.runs[run].tensor_bytes < *c.runs[than].tensor_bytes;
  };
  std::string undecided;
  if (candidate && is_smaller(*candidate, s.value_or(c.baseline))) {
    const auto& average = *pair_of(c, c.baseline, *candidate).average;
    r.more_items = average.items_needed;
    undecided = fmt::format("{} ({}) is indistinguishable from it{}", c.runs[*candidate].name,
                            size_words(*c.runs[*candidate].tensor_bytes),
                            average.items_needed ? fmt::format("; {} more items would decide",
                                                               about_words(*average.items_needed))
                                                 : "");
  }
  if (s && is_smaller(*s, c.baseline)) {
    r.choice = c.runs[*s].name;
    r.verdict = average_verdict(c, *s);
    r.because = fmt::format("{} against {}{}", size_words(*c.runs[*s].tensor_bytes),
                            size_words(*c.runs[c.baseline].tensor_bytes), quality_words(c, *s));
    if (!undecided.empty()) r.because += "; smaller, but not shown to be equivalent: " + undecided;
  } else if (!any_average) {
    r.because = "no task carries information";
  } else if (s) {
    r.because = "no variant that is shown to be as good is smaller";
  } else {
    r.because =
        fmt::format("no variant is shown to be equivalent within {}", margin_words(c.margin));
    if (!undecided.empty()) r.because += "; " + undecided;
  }
  return r;
}

std::string speed_words(const SpeedFacts& s) {
  return fmt::format("{:.1f} tokens per second, peak memory {}", s.decode_tps,
                     size_words(s.peak_rss_bytes));
}

// Under which conditions a speed was measured; two speeds are compared only when these agree.
std::string conditions(const SpeedFacts& s) {
  return fmt::format("{}, {}, {}, {} threads", s.cpu, s.isa, s.precision, s.threads);
}

Recommendation fastest(const Comparison& c, const RecommendSettings& settings) {
  Recommendation r{settings.budget ? "fastest within the budget" : "fastest",
                   {},
                   {},
                   Verdict::kIndistinguishable,
                   {}};
  Runs measured, fitting;
  std::set<std::string> where;
  std::vector<std::string> unmeasured;
  for (std::size_t run = 0; run < c.runs.size(); ++run) {
    const auto& speed = c.runs[run].speed;
    if (!speed || !(speed->decode_tps > 0)) {
      unmeasured.push_back(c.runs[run].name);
      continue;
    }
    measured.push_back(run);
    where.insert(conditions(*speed));
    if (!settings.budget || speed->peak_rss_bytes <= *settings.budget) fitting.push_back(run);
  }
  if (measured.empty()) {
    r.because = "no speed is recorded beside these runs (qx bench -m MODEL -o RUNS/NAME)";
    return r;
  }
  if (where.size() > 1) {
    r.because = "the speeds were measured under different conditions: ";
    r.because += join_words({where.begin(), where.end()});
    return r;
  }
  if (fitting.empty()) {
    r.because = fmt::format("none of {} ran within {}", join_words(names_of(c, measured)),
                            size_words(*settings.budget));
    return r;
  }
  const std::size_t best =
      *std::max_element(fitting.begin(), fitting.end(), [&](std::size_t a, std::size_t b) {
        return c.runs[a].speed->decode_tps < c.runs[b].speed->decode_tps;
      });
  r.choice = c.runs[best].name;
  r.verdict = average_verdict(c, best);
  r.because = speed_words(*c.runs[best].speed);
  if (settings.budget) r.because += fmt::format(" of {}", size_words(*settings.budget));
  r.because += quality_words(c, best);
  if (!unmeasured.empty()) r.because += "; not measured: " + join_words(unmeasured);
  return r;
}

std::optional<Recommendation> for_use(const Comparison& c, const Use& use) {
  std::vector<std::size_t> compared;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    const std::string& task = c.tasks[t].task;
    if (std::find(use.tasks.begin(), use.tasks.end(), task) != use.tasks.end()) {
      compared.push_back(t);
    }
  }
  if (compared.empty()) return std::nullopt;
  const Scope scope = make_scope(c, compared, false);
  if (scope.tasks.empty()) {
    return Recommendation{std::string(use.name),
                          {},
                          fmt::format("{} {} no information here", tasks_of(c, scope.left_out),
                                      scope.left_out.size() == 1 ? "carries" : "carry"),
                          Verdict::kIndistinguishable,
                          {}};
  }
  return by_score(c, scope, std::string(use.name), "on " + tasks_of(c, scope.tasks));
}

// The largest over tasks of the smallest difference that would have been seen; nothing when
// unknown.
std::optional<double> blind_spot(const Comparison& c, const PairSummary& pair) {
  std::optional<double> largest;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    const double d = pair.tasks[t].detectable;
    if (!c.tasks[t].informative || std::isnan(d)) continue;
    largest = std::max(largest.value_or(0), d);
  }
  return largest;
}

std::string power_sentence(const Comparison& c) {
  const auto& pairs = c.between_variants.empty() ? c.against_baseline : c.between_variants;
  std::optional<double> largest;
  for (const PairSummary& pair : pairs) {
    if (const auto d = blind_spot(c, pair)) largest = std::max(largest.value_or(0), *d);
  }
  if (!largest) return "";
  return fmt::format(
      " With this many items, a difference below {:.1f} points on a single task could have "
      "gone unseen (80 % power, before Holm's correction).",
      *largest * 100);
}

std::string choice_sentence(const Comparison& c) {
  const Runs among = candidates(c);
  const Scope scope = whole(c);
  for (const std::size_t a : among) {
    if (!ahead_of_all(c, scope, a, among)) continue;
    return fmt::format("Choose {}: these data show it ahead of {}.", c.runs[a].name,
                       c.runs.size() == 2 ? "the other" : "every other variant");
  }
  const std::string names = join_words(names_of(c, among));
  if (all_pairs(c, scope, among, Standing::kEquivalent)) {
    std::string text = fmt::format(
        "By score it does not matter which of {} one takes: they are "
        "equivalent within {} on the average.",
        names, margin_words(c.margin));
    if (const auto s = single_smallest(c, among)) {
      text += fmt::format(" The smallest is {} ({}).", c.runs[*s].name,
                          size_words(*c.runs[*s].tensor_bytes));
    }
    return text;
  }
  bool mixed = false, some_apart = false;
  for (const std::size_t a : among) {
    for (const std::size_t b : among) {
      if (a == b) continue;
      const Standing stands = standing(c, scope, a, b);
      mixed = mixed || stands == Standing::kMixed;
      some_apart = some_apart || stands == Standing::kAhead || stands == Standing::kBehind;
    }
  }
  if (mixed) {
    return fmt::format("Between {} the choice depends on the task, as the verdicts say.", names);
  }
  if (some_apart) {
    return fmt::format("No single one of {} is shown ahead of all the others.", names);
  }
  std::string text = fmt::format("The data do not decide between {} by score.", names);
  if (const auto s = single_smallest(c, among)) {
    text += fmt::format(" If size matters, {} is the smallest ({}).", c.runs[*s].name,
                        size_words(*c.runs[*s].tensor_bytes));
  }
  return text;
}

}  // namespace

std::vector<Recommendation> recommend(const Comparison& c, const RecommendSettings& settings) {
  std::vector<Recommendation> out;
  const Scope all = whole(c);
  out.push_back(by_score(c, all, "best scores", place_of_whole(c, all)));
  out.push_back(smallest_of_all(c));
  out.push_back(smallest_equivalent(c));
  out.push_back(fastest(c, settings));
  for (const Use& use : known_uses()) {
    if (auto line = for_use(c, use)) out.push_back(std::move(*line));
  }
  return out;
}

std::string paragraph(const Comparison& c) {
  constexpr std::size_t kMostPairs = 3;  // more of them are said by groups
  std::string text;
  for (const PairSummary& pair : c.against_baseline) text += pair_sentence(c, pair) + " ";
  if (c.between_variants.size() <= kMostPairs) {
    for (const PairSummary& pair : c.between_variants) text += pair_sentence(c, pair) + " ";
  }
  const std::string groups = c.runs.size() > 2 ? groups_sentence(c) : "";
  if (!groups.empty()) text += groups + " ";
  text += choice_sentence(c) + power_sentence(c);
  const std::string uninformative = uninformative_sentence(c);
  return uninformative.empty() ? text : text + " " + uninformative;
}

}  // namespace qx
