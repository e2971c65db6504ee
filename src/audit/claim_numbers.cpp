// SPDX-License-Identifier: Apache-2.0
#include "audit/claim_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "audit/claim_words.h"

namespace qx {
namespace {

bool says(const Clause& clause, std::initializer_list<std::string_view> words) {
  return std::any_of(clause.words.begin(), clause.words.end(), [&](const Word& w) {
    return w.kind == Word::Kind::kText &&
           std::find(words.begin(), words.end(), w.text) != words.end();
  });
}

bool is_task_noun(std::string_view word) {
  return word == "tasks" || word == "benchmarks" || word == "tests" || word == "task" ||
         word == "benchmark" || word == "categories";
}

// "5 of the 7": where the total stands, or 0.
std::size_t total_after(const Clause& clause, std::size_t i) {
  std::size_t at = i + 1;
  if (text_at(clause, at) == "out") ++at;
  if (text_at(clause, at) == "of") {
    ++at;
    while (text_at(clause, at) == "the" || text_at(clause, at) == "all" ||
           text_at(clause, at) == "our")
      ++at;
  } else {
    const std::string slash = clause.words[i].text + "/";
    if (at != i + 1 || clause.text.find(slash) == std::string::npos) return 0;
  }
  return at < clause.words.size() && small_number(clause.words[at]) ? at : 0;
}

}  // namespace

std::optional<CountClaim> find_count(const Clause& clause) {
  CountClaim claim;
  claim.is_about_scores = says(clause, {"score", "scores", "scoring", "wins", "won", "win"});
  for (std::size_t i = 0; i < clause.words.size(); ++i) {
    const std::optional<int> count = small_number(clause.words[i]);
    if (count) {
      const std::size_t total = total_after(clause, i);
      if (total == 0) continue;
      claim.count = *count;
      claim.total = small_number(clause.words[total]);
      if (*claim.total >= 2 && *count <= *claim.total) return claim;
    }
  }
  for (std::size_t i = 0; i < clause.words.size(); ++i) {
    const std::string_view word = text_at(clause, i);
    if (word != "all" && word != "every") continue;
    std::size_t at = i + 1;
    if (text_at(clause, at) == "of") ++at;
    if (text_at(clause, at) == "the") ++at;
    if (at < clause.words.size()) claim.total = small_number(clause.words[at]);
    if (claim.total) ++at;
    if (!is_task_noun(text_at(clause, at))) continue;
    claim.all = true;
    return claim;
  }
  return std::nullopt;
}

namespace {

// "95 % interval", and "-1.2 to +0.4": how sure, not how large.
bool is_of_an_interval(const Clause& clause, std::size_t i) {
  const Word& word = clause.words[i];
  const std::string_view next = text_at(clause, i + 1);
  if (word.percent && (next == "interval" || next == "confidence" || next == "ci")) return true;
  const auto is_signed = [&](std::size_t at) {
    return at < clause.words.size() && clause.words[at].kind == Word::Kind::kNumber &&
           (clause.words[at].has_sign || clause.words[at].number == 0);
  };
  return is_signed(i) && ((next == "to" && is_signed(i + 2)) ||
                          (i >= 2 && text_at(clause, i - 1) == "to" && is_signed(i - 2)));
}

// "p = 0.012", "p < 0.001"
bool is_a_p_value(const Clause& clause, std::size_t i) {
  return i >= 1 && text_at(clause, i - 1) == "p";
}

// "within 1 point", "less than the margin of 1 point".
bool is_a_margin(const Clause& clause, std::size_t i) {
  if (i >= 1 && text_at(clause, i - 1) == "within") return true;
  return i >= 2 && text_at(clause, i - 1) == "of" && text_at(clause, i - 2) == "margin";
}

}  // namespace

std::vector<NumberClaim> find_numbers(const Clause& clause) {
  std::vector<NumberClaim> numbers;
  for (std::size_t i = 0; i < clause.words.size(); ++i) {
    const Word& word = clause.words[i];
    if (word.kind != Word::Kind::kNumber) continue;
    if (is_of_an_interval(clause, i) || is_a_p_value(clause, i) || is_a_margin(clause, i)) continue;
    const std::string_view next = text_at(clause, i + 1);
    const bool points = next == "points" || next == "point" || next == "pp" || next == "pts" ||
                        next == "percentage";
    const bool percent = word.percent || next == "percent";
    if (!points && !percent && (word.decimals < 2 || std::fabs(word.number) > 1)) continue;
    NumberClaim number;
    const double unit = points || percent ? 0.01 : 1;
    number.value = word.number * unit;
    number.half_unit = 0.5 * std::pow(10.0, -word.decimals) * unit;
    number.is_percent = percent && !points;
    number.has_sign = word.has_sign;
    number.is_difference = word.has_sign || points || (i > 0 && text_at(clause, i - 1) == "by");
    numbers.push_back(number);
  }
  return numbers;
}

std::optional<NumberMatch> match_score(const NumberClaim& number, const ScoreTable& table,
                                       const Clause& clause) {
  if (number.is_difference || number.value < 0 || number.value > 1) return std::nullopt;
  const std::vector<std::size_t>& rows = clause.rows.empty() ? clause.context_rows : clause.rows;
  NumberMatch match;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    if (!rows.empty() && std::find(rows.begin(), rows.end(), r) == rows.end()) continue;
    for (std::size_t v = 0; v < table.variants.size(); ++v) {
      if (!table.rows[r].scores[v]) continue;
      if (!clause.variants.empty() &&
          std::find(clause.variants.begin(), clause.variants.end(), v) == clause.variants.end() &&
          clause.context_variant != v) {
        continue;
      }
      const PrintedScore& score = *table.rows[r].scores[v];
      const std::string text =
          fmt::format("{}: {} {:.4g}", table.rows[r].task, table.variants[v], score.value);
      if (std::fabs(score.value - number.value) <= number.half_unit + score.half_unit) {
        return NumberMatch{true, text, {}};
      }
      if (match.text.size() < 300) match.text += (match.text.empty() ? "" : "; ") + text;
    }
  }
  if (rows.empty() || match.text.empty()) return std::nullopt;
  return match;
}

NumberMatch match_difference(const NumberClaim& number, const ScoreTable& table,
                             const ScoreTest& test) {
  const PrintedScore& a = *table.rows[test.row].scores[test.a];
  const PrintedScore& b = *table.rows[test.row].scores[test.b];
  const double slack = number.half_unit + a.half_unit + b.half_unit;
  const double claimed = std::fabs(number.value);
  NumberMatch match;
  match.test = test;
  const double points = std::fabs(test.diff);
  match.text = fmt::format("{}: the scores differ by {:.4g} ({:.2g} points)",
                           table.rows[test.row].task, points, points * 100);
  if (std::fabs(claimed - points) <= slack) {
    match.matches = true;
    match.text += ", as claimed";
    return match;
  }
  if (!number.is_percent) return match;
  for (const auto& [base, name] : {std::pair{b.value, test.b}, std::pair{a.value, test.a}}) {
    if (base <= 0) continue;
    const double relative = points / base;
    match.text += fmt::format(", {:.2g} % of {}'s", relative * 100, table.variants[name]);
    const double error = number.half_unit + (a.half_unit + b.half_unit) / base;
    const double ratio = (base == b.value ? a.value : b.value) / base;
    if (std::fabs(claimed - relative) <= error || std::fabs(claimed - ratio) <= error) {
      match.matches = true;
      match.text += ", as claimed (relative)";
      return match;
    }
  }
  match.text += ": neither is the claimed figure";
  return match;
}

}  // namespace qx
