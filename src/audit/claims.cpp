// SPDX-License-Identifier: Apache-2.0
#include "audit/claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "audit/claim_numbers.h"
#include "audit/claim_words.h"

namespace qx {
namespace {

constexpr double kLevel = 0.05;
constexpr double kMargin = 0.01;                    // "equal" is within one point
constexpr double kOneSided90 = 1.6448536269514722;  // two one-sided tests at 5 %

// Who is said to be better than whom.
struct Sides {
  std::vector<std::size_t> subjects, opponents;
};

class Judge {
 public:
  Judge(const ScoreTable& table, const TableTests& tests) : table_(table), tests_(tests) {}

  std::optional<Claim> judge(const Clause& clause) const;

 private:
  Sides sides_of(const Clause& clause, std::size_t at) const;
  std::vector<std::size_t> rows_of(const Clause& clause) const;
  Claim judge_count(const Clause& clause, const CountClaim& count, const ClaimWord& word) const;
  Claim judge_comparison(const Clause& clause, const ClaimWord& word) const;
  Claim judge_sameness(const Clause& clause, const ClaimWord& word) const;
  Claim judge_significance(const Clause& clause, const ClaimWord& word) const;
  Claim judge_number(const Clause& clause, const NumberClaim& number,
                     const std::optional<ClaimWord>& word) const;
  ClaimVerdict compare(double diff, double p, const ClaimWord& word, bool hedged) const;

  const ScoreTable& table_;
  const TableTests& tests_;
};

bool is_object_marker(const Word& word) {
  constexpr std::string_view kMarkers[] = {"than", "to",   "vs",      "versus",
                                           "over", "from", "against", "compared"};
  return word.kind == Word::Kind::kText &&
         std::find(std::begin(kMarkers), std::end(kMarkers), word.text) != std::end(kMarkers);
}

void add_once(std::vector<std::size_t>& list, std::size_t value) {
  if (std::find(list.begin(), list.end(), value) == list.end()) list.push_back(value);
}

Sides Judge::sides_of(const Clause& clause, std::size_t at) const {
  Sides sides;
  std::vector<std::size_t> after;
  std::size_t object_until = 0;  // names up to here belong to "than", "over", ..
  for (std::size_t i = 0; i < clause.words.size(); ++i) {
    const Word& word = clause.words[i];
    if (word.kind == Word::Kind::kVariant) {
      if (i < object_until) {
        add_once(sides.opponents, word.variant);
        const bool goes_on = i + 1 < clause.words.size() && (clause.words[i + 1].text == "and" ||
                                                             clause.words[i + 1].text == "or");
        object_until = goes_on ? i + 3 : 0;  // "than q6 and q8"
      } else {
        add_once(i < at ? sides.subjects : after, word.variant);
      }
    } else if (is_object_marker(word)) {
      object_until = i + 4;  // "than the smoother q4-hi"
    }
  }
  if (sides.subjects.empty() && clause.context_variant &&
      std::find(sides.opponents.begin(), sides.opponents.end(), *clause.context_variant) ==
          sides.opponents.end() &&
      (after.empty() || !sides.opponents.empty())) {
    sides.subjects.push_back(*clause.context_variant);
  }
  if (sides.subjects.empty()) {
    std::swap(sides.subjects, after);  // "best: q4-hi"
  } else if (sides.opponents.empty()) {
    sides.opponents = after;  // "q4-hi beats q3"
  }
  std::erase_if(sides.opponents, [&](std::size_t v) {
    return std::find(sides.subjects.begin(), sides.subjects.end(), v) != sides.subjects.end();
  });
  if (sides.opponents.empty()) {
    for (std::size_t v = 0; v < table_.variants.size(); ++v) {
      if (std::find(sides.subjects.begin(), sides.subjects.end(), v) == sides.subjects.end()) {
        sides.opponents.push_back(v);
      }
    }
  }
  return sides;
}

std::vector<std::size_t> Judge::rows_of(const Clause& clause) const {
  return clause.rows.empty() ? clause.context_rows : clause.rows;
}

bool says_overall(const Clause& clause) {
  constexpr std::string_view kOverall[] = {"overall", "average", "mean",    "tasks",  "benchmarks",
                                           "scores",  "all",     "results", "across", "accuracy"};
  return std::any_of(clause.words.begin(), clause.words.end(), [&](const Word& w) {
    return w.kind == Word::Kind::kText &&
           std::find(std::begin(kOverall), std::end(kOverall), w.text) != std::end(kOverall);
  });
}

std::string p_text(double p) {
  return p < 0.001 ? "p < 0.001"
         : p < 0.1 ? fmt::format("p = {:.3f}", p)
                   : fmt::format("p = {:.2f}", p);
}

std::string describe(const ScoreTable& table, const ScoreTest& test) {
  const TaskRow& row = table.rows[test.row];
  std::string text = fmt::format(
      "{}: {} {:.4g}, {} {:.4g}, difference {:+.4g}, z = {:+.2f}, {}, Holm {}", row.task,
      table.variants[test.a], row.scores[test.a]->value, table.variants[test.b],
      row.scores[test.b]->value, test.diff, test.z, p_text(test.p), p_text(test.p_holm).substr(2));
  if (!test.informative) text += "; a score without information";
  return text;
}

std::string describe(const ScoreTable& table, const AverageTest& test) {
  return fmt::format("mean of {} tasks: {} against {} {:+.4g}, z = {:+.2f}, {}", test.tasks,
                     table.variants[test.a], table.variants[test.b], test.diff, test.z,
                     p_text(test.p));
}

void append(std::string& evidence, const std::string& text) {
  if (evidence.size() > 500 || text.empty()) return;
  evidence += (evidence.empty() ? "" : "; ") + text;
}

// The weakest of several verdicts that a claim needs together.
void combine(std::optional<ClaimVerdict>& all, ClaimVerdict one) {
  const auto rank = [](ClaimVerdict v) {
    switch (v) {
      case ClaimVerdict::kContradicted:
        return 0;
      case ClaimVerdict::kNotSupported:
        return 1;
      case ClaimVerdict::kUndecided:
        return 2;
      case ClaimVerdict::kNotChecked:
        return 3;
      case ClaimVerdict::kSupported:
        return 4;
    }
    return 3;
  };
  if (!all || rank(one) < rank(*all)) all = one;
}

// diff: subject - opponent.
ClaimVerdict Judge::compare(double diff, double p, const ClaimWord& word, bool hedged) const {
  const bool upward = word.kind == WordClass::kBetter || word.kind == WordClass::kHigher;
  const double along = upward ? diff : -diff;
  const bool shown = p < kLevel;
  if (word.negated) {
    return along > 0 && shown ? ClaimVerdict::kContradicted : ClaimVerdict::kSupported;
  }
  if (word.kind == WordClass::kHigher || word.kind == WordClass::kLower) {
    return along > 0 ? ClaimVerdict::kSupported : ClaimVerdict::kContradicted;
  }
  if (along > 0 && shown) return ClaimVerdict::kSupported;
  if (along < 0 && !hedged) return ClaimVerdict::kContradicted;
  return hedged ? ClaimVerdict::kUndecided : ClaimVerdict::kNotSupported;
}

Claim Judge::judge_comparison(const Clause& clause, const ClaimWord& word) const {
  Claim claim{clause.text, ClaimVerdict::kNotChecked, ""};
  const Sides sides = sides_of(clause, word.at);
  const std::vector<std::size_t> rows = rows_of(clause);
  if (sides.subjects.empty() || sides.opponents.empty() ||
      (rows.empty() && sides.opponents.size() + sides.subjects.size() < 2)) {
    claim.evidence = "it is not clear which variant is meant";
    return claim;
  }
  if (rows.empty() && !says_overall(clause) && clause.variants.size() < 2) {
    claim.evidence = "names no task of the table";
    return claim;
  }
  const bool hedged = is_hedged(clause);
  std::optional<ClaimVerdict> verdict;
  for (const std::size_t s : sides.subjects) {
    for (const std::size_t o : sides.opponents) {
      for (const std::size_t r : rows) {
        const std::optional<ScoreTest> test = tests_.find(r, s, o);
        if (!test) continue;
        combine(verdict, compare(test->diff, test->p_holm, word, hedged));
        append(claim.evidence, describe(table_, *test));
      }
      if (!rows.empty()) continue;
      if (const std::optional<AverageTest> test = tests_.find_average(s, o)) {
        combine(verdict, compare(test->diff, test->p, word, hedged));
        append(claim.evidence, describe(table_, *test));
      }
    }
  }
  claim.verdict = verdict.value_or(ClaimVerdict::kUndecided);
  if (!verdict) claim.evidence = "the table has no pair of scores for it";
  return claim;
}

// Two one-sided tests on independent proportions: the 90 % interval lies within the margin.
bool shown_equal(const ScoreTable& table, const ScoreTest& test) {
  const double a = table.rows[test.row].scores[test.a]->value;
  const double b = table.rows[test.row].scores[test.b]->value;
  const double error = std::sqrt((a * (1 - a) + b * (1 - b)) / static_cast<double>(test.n));
  return test.informative && std::fabs(test.diff) + kOneSided90 * error < kMargin;
}

bool only_prints(const Clause& clause) {
  return std::any_of(clause.words.begin(), clause.words.end(), [](const Word& w) {
    return w.text == "score" || w.text == "scores" || w.text == "tie" || w.text == "tied" ||
           w.text == "ties" || w.text == "numbers" || w.text == "figure";
  });
}

Claim Judge::judge_sameness(const Clause& clause, const ClaimWord& word) const {
  Claim claim{clause.text, ClaimVerdict::kNotChecked, ""};
  const std::vector<std::size_t> rows = rows_of(clause);
  if (rows.empty() || word.negated) {
    claim.evidence = "names no task of the table";
    return claim;
  }
  if (clause.paired && clause.variants.size() < 2) {
    claim.evidence = "it is not clear which two variants were paired";
    return claim;
  }
  std::vector<std::size_t> who = clause.variants;
  if (who.size() < 2) {
    who.clear();
    for (std::size_t v = 0; v < table_.variants.size(); ++v) who.push_back(v);
  }
  const bool says_effective =
      std::any_of(clause.words.begin(), clause.words.end(), [](const Word& w) {
        return w.text == "effective" || w.text == "equally" || w.text == "good";
      });
  std::optional<ClaimVerdict> verdict;
  for (const std::size_t r : rows) {
    for (std::size_t i = 0; i < who.size(); ++i) {
      for (std::size_t j = i + 1; j < who.size(); ++j) {
        const std::optional<ScoreTest> test = tests_.find(r, who[i], who[j]);
        if (!test) continue;
        append(claim.evidence, describe(table_, *test));
        ClaimVerdict one = ClaimVerdict::kNotSupported;
        if (test->p_holm < kLevel) {
          one = ClaimVerdict::kContradicted;
        } else if (word.kind == WordClass::kSimilar) {
          one = test->informative ? ClaimVerdict::kSupported : ClaimVerdict::kUndecided;
        } else if (test->diff == 0 && only_prints(clause) && !says_effective) {
          one = ClaimVerdict::kSupported;
        } else if (shown_equal(table_, *test)) {
          one = ClaimVerdict::kSupported;
        } else if (!test->informative) {
          append(claim.evidence, "equal scores of constant answers say nothing about equality");
        } else {
          append(claim.evidence, "not shown to differ is not shown to be equal within 1 point");
        }
        combine(verdict, one);
      }
    }
  }
  claim.verdict = verdict.value_or(ClaimVerdict::kUndecided);
  if (!verdict) claim.evidence = "the table has no pair of scores for it";
  return claim;
}

// "The difference on PIQA is (not) significant."
Claim Judge::judge_significance(const Clause& clause, const ClaimWord& word) const {
  Claim claim{clause.text, ClaimVerdict::kNotChecked, ""};
  std::vector<std::size_t> rows = rows_of(clause);
  if (rows.empty() && says_overall(clause)) {
    for (std::size_t r = 0; r < table_.rows.size(); ++r) rows.push_back(r);
  }
  std::optional<ClaimVerdict> verdict;
  for (const ScoreTest& test : tests_.tests) {
    if (std::find(rows.begin(), rows.end(), test.row) == rows.end()) continue;
    if (clause.variants.size() >= 2 && (std::find(clause.variants.begin(), clause.variants.end(),
                                                  test.a) == clause.variants.end() ||
                                        std::find(clause.variants.begin(), clause.variants.end(),
                                                  test.b) == clause.variants.end())) {
      continue;
    }
    const bool shown = test.p_holm < kLevel;
    if (word.negated) {
      combine(verdict, shown ? ClaimVerdict::kContradicted : ClaimVerdict::kSupported);
    } else {
      combine(verdict, shown ? ClaimVerdict::kSupported : ClaimVerdict::kNotSupported);
    }
    append(claim.evidence, describe(table_, test));
  }
  claim.verdict = verdict.value_or(ClaimVerdict::kNotChecked);
  if (!verdict) claim.evidence = "names no task of the table";
  return claim;
}

Claim Judge::judge_count(const Clause& clause, const CountClaim& count,
                         const ClaimWord& word) const {
  Claim claim{clause.text, ClaimVerdict::kNotChecked, ""};
  const Sides sides = sides_of(clause, word.at);
  if (sides.subjects.size() != 1 || sides.opponents.empty()) {
    claim.evidence = "it is not clear which variant is meant";
    return claim;
  }
  int higher = 0, ties = 0, lower = 0, shown_higher = 0, shown_lower = 0, tasks = 0;
  std::vector<std::size_t> higher_rows;
  for (std::size_t r = 0; r < table_.rows.size(); ++r) {
    bool above = true, below = true, same = true, shown_above = true, shown_below = true;
    bool complete = true;
    for (const std::size_t o : sides.opponents) {
      const std::optional<ScoreTest> test = tests_.find(r, sides.subjects[0], o);
      complete = complete && test.has_value();
      if (!test) continue;
      above = above && test->diff > 0;
      below = below && test->diff < 0;
      same = same && test->diff == 0;
      shown_above = shown_above && test->diff > 0 && test->p_holm < kLevel;
      shown_below = shown_below && test->diff < 0 && test->p_holm < kLevel;
    }
    if (!complete) continue;
    ++tasks;
    higher += above ? 1 : 0;
    lower += below ? 1 : 0;
    ties += same ? 1 : 0;
    shown_higher += shown_above ? 1 : 0;
    shown_lower += shown_below ? 1 : 0;
    if (above) higher_rows.push_back(r);
  }
  const bool down = word.kind == WordClass::kWorse || word.kind == WordClass::kLower;
  const bool same = word.kind == WordClass::kSame || word.kind == WordClass::kSimilar;
  const int printed = same ? ties : down ? lower : higher;
  const int shown = down ? shown_lower : shown_higher;
  const int claimed = count.all ? tasks : count.count;
  claim.evidence = fmt::format(
      "{} is higher on {}, equal on {} and lower on {} of {} tasks; {} of these differences stand "
      "out "
      "of the noise",
      table_.variants[sides.subjects[0]], higher, ties, lower, tasks, shown_higher + shown_lower);
  const bool others_named = !same && !down &&
                            clause.rows.size() == static_cast<std::size_t>(claimed) &&
                            !std::is_permutation(clause.rows.begin(), clause.rows.end(),
                                                 higher_rows.begin(), higher_rows.end());
  if (printed != claimed || (count.total && *count.total != tasks) || others_named) {
    claim.verdict = ClaimVerdict::kContradicted;
  } else if (same || word.kind == WordClass::kHigher || word.kind == WordClass::kLower ||
             count.is_about_scores || shown >= claimed) {
    claim.verdict = ClaimVerdict::kSupported;
  } else {
    claim.verdict = ClaimVerdict::kNotSupported;
    append(claim.evidence, "the count is right, that it means anything is not shown");
  }
  return claim;
}

Claim Judge::judge_number(const Clause& clause, const NumberClaim& number,
                          const std::optional<ClaimWord>& word) const {
  Claim claim{clause.text, ClaimVerdict::kNotChecked, ""};
  Sides sides = sides_of(clause, word ? word->at : clause.words.size());
  const std::vector<std::size_t> rows = rows_of(clause);
  if (rows.empty()) {
    claim.evidence = "names no task of the table";
    return claim;
  }
  std::vector<NumberMatch> near;
  for (const ScoreTest& test : tests_.tests) {
    if (std::find(rows.begin(), rows.end(), test.row) == rows.end()) continue;
    const auto among = [&](std::size_t v) {
      return clause.variants.empty() ||
             std::find(clause.variants.begin(), clause.variants.end(), v) != clause.variants.end();
    };
    if (!among(test.a) && !among(test.b)) continue;
    near.push_back(match_difference(number, table_, test));
    append(claim.evidence, near.back().text);
  }
  if (near.empty()) {
    claim.verdict = ClaimVerdict::kUndecided;
    claim.evidence = "the table has no pair of scores for it";
    return claim;
  }
  const auto match =
      std::find_if(near.begin(), near.end(), [](const NumberMatch& m) { return m.matches; });
  if (match == near.end()) {
    claim.verdict = ClaimVerdict::kContradicted;
    return claim;
  }
  claim.verdict = ClaimVerdict::kSupported;
  claim.evidence = match->text + "; " + describe(table_, match->test);
  const bool directed = word && word->kind != WordClass::kSame &&
                        word->kind != WordClass::kSimilar && word->kind != WordClass::kSignificant;
  if (!directed) return claim;
  // The words say more than the number: who is better, and that it is real.
  if (sides.subjects.size() == 1) {
    const std::size_t s = sides.subjects[0];
    if (s == match->test.a || s == match->test.b) {
      const std::size_t o = s == match->test.a ? match->test.b : match->test.a;
      const std::optional<ScoreTest> turned = tests_.find(match->test.row, s, o);
      if (turned) claim.verdict = compare(turned->diff, turned->p_holm, *word, is_hedged(clause));
    }
  } else if ((word->kind == WordClass::kBetter || word->kind == WordClass::kWorse) &&
             match->test.p_holm >= kLevel) {
    claim.verdict = ClaimVerdict::kNotSupported;
  }
  return claim;
}

std::optional<Claim> Judge::judge(const Clause& clause) const {
  const std::optional<ClaimWord> word = find_claim_word(clause);
  if (const std::optional<CountClaim> count = find_count(clause); count && word) {
    return judge_count(clause, *count, *word);
  }
  std::optional<NumberClaim> difference;
  for (const NumberClaim& number : find_numbers(clause)) {
    const std::optional<NumberMatch> cited = match_score(number, table_, clause);
    if (cited && cited->matches) {
      if (!word) return Claim{clause.text, ClaimVerdict::kSupported, cited->text};
      continue;
    }
    if (number.is_difference || (word && number.is_percent)) {
      if (!difference) difference = number;
    } else if (cited && !word) {
      return Claim{clause.text, ClaimVerdict::kContradicted, cited->text};
    }
  }
  if (difference && !(is_about_other_things(clause) && clause.rows.empty()) &&
      (word || difference->has_sign)) {
    return judge_number(clause, *difference, word);
  }
  if (!word) {
    if (!has_claim_like_word(clause)) return std::nullopt;
    return Claim{clause.text, ClaimVerdict::kNotChecked, "not about the scores of the table"};
  }
  if (is_about_earlier_work(clause)) {
    return Claim{clause.text, ClaimVerdict::kNotChecked, "about other work than the table's"};
  }
  if (is_about_other_things(clause) && clause.rows.empty()) {
    return Claim{clause.text, ClaimVerdict::kNotChecked, "not about the scores of the table"};
  }
  switch (word->kind) {
    case WordClass::kSame:
    case WordClass::kSimilar:
      return judge_sameness(clause, *word);
    case WordClass::kSignificant:
      return judge_significance(clause, *word);
    default:
      return judge_comparison(clause, *word);
  }
}

}  // namespace

std::string claim_verdict_name(ClaimVerdict verdict) {
  switch (verdict) {
    case ClaimVerdict::kSupported:
      return "supported";
    case ClaimVerdict::kNotSupported:
      return "not supported";
    case ClaimVerdict::kContradicted:
      return "contradicted";
    case ClaimVerdict::kUndecided:
      return "cannot be decided";
    case ClaimVerdict::kNotChecked:
      return "not checked";
  }
  return "";
}

std::vector<Claim> judge_claims(const std::vector<Clause>& clauses, const ScoreTable& table,
                                const TableTests& tests) {
  const Judge judge(table, tests);
  std::vector<Claim> claims;
  for (const Clause& clause : clauses) {
    std::optional<Claim> claim = judge.judge(clause);
    if (!claim) continue;
    if (claim->verdict == ClaimVerdict::kSupported && gives_a_cause(clause)) {
      append(claim->evidence, "what caused it the table cannot tell");
    }
    // A test on the answers to each item sees more than one on bare accuracies; what the printed
    // scores contradict stays contradicted.
    if (claim->verdict == ClaimVerdict::kNotSupported && clause.paired) {
      claim->verdict = ClaimVerdict::kNotChecked;
      claim->evidence =
          "rests on a paired test, which needs the answers to each item; the table alone "
          "does not support it: " +
          claim->evidence;
    }
    claims.push_back(std::move(*claim));
  }
  return claims;
}

}  // namespace qx
