// SPDX-License-Identifier: Apache-2.0
#include "compare/words.h"

#include <cmath>

#include "base/error.h"
#include "compare/groups.h"

namespace qx {
namespace {

std::string interval_in_brackets(double difference, const Interval& interval) {
  return fmt::format("{} points, {}", points(difference), interval_words(interval));
}

// "q4 is worse than base" and the like, up to where the verdict's place follows.
std::string claim(const std::string& variant, const std::string& baseline, Verdict verdict,
                  bool within_margin, double margin) {
  switch (verdict) {
    case Verdict::kBetter:
    case Verdict::kWorse:
      return fmt::format(
          "{} is {} than {}{}", variant, verdict_name(verdict), baseline,
          within_margin ? fmt::format(" by less than the margin of {}", margin_words(margin)) : "");
    case Verdict::kEquivalent:
      return fmt::format("{} is equivalent to {} within {}", variant, baseline,
                         margin_words(margin));
    case Verdict::kIndistinguishable:
      return fmt::format("{} and {} are indistinguishable", variant, baseline);
  }
  return "";
}

std::string more_words(const std::optional<std::int64_t>& items) {
  return items ? fmt::format("; {} more items would decide", about_words(*items)) : "";
}

std::string flag_words(const Comparison& c, const PairSummary& pair, std::size_t t) {
  std::vector<std::string> reasons;
  for (const std::size_t r : {pair.variant, pair.baseline}) {
    for (const Flag& flag : c.tasks[t].scores[r].flags) {
      if (no_information({flag})) reasons.push_back(c.runs[r].name + " " + flag.text);
    }
  }
  return join_words(reasons);
}

bool carries_information(const Comparison& c, const PairSummary& pair, std::size_t t) {
  const auto& scores = c.tasks[t].scores;
  return !no_information(scores[pair.baseline].flags) &&
         !no_information(scores[pair.variant].flags);
}

std::string task_claim(const Comparison& c, const PairSummary& pair, std::size_t t) {
  const Difference& d = pair.tasks[t];
  std::string text =
      fmt::format("{} ({}", c.tasks[t].task, interval_in_brackets(d.difference, d.interval));
  if (!carries_information(c, pair, t)) text += ", a task without information here";
  if (d.within_margin && d.verdict != Verdict::kEquivalent) text += ", less than the margin";
  return text + ")";
}

// Tasks where the pair has this verdict, with their differences.
std::vector<std::string> tasks_with(const Comparison& c, const PairSummary& pair, Verdict verdict) {
  std::vector<std::string> out;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    if (pair.tasks[t].verdict == verdict && is_told(c, pair, t)) {
      out.push_back(task_claim(c, pair, t));
    }
  }
  return out;
}

std::string tasks_words(std::int64_t count) {
  return count == 1 ? "one task" : fmt::format("{} tasks", count);
}

std::string average_claim(const Comparison& c, const PairSummary& pair) {
  const AverageDifference& a = *pair.average;
  const std::string words = verdict_words(a.verdict, a.within_margin, c.margin);
  if (a.verdict == Verdict::kIndistinguishable) {
    return fmt::format("{} ({}{})", words, interval_words(a.interval), more_words(a.items_needed));
  }
  return fmt::format("{} ({})", words, interval_in_brackets(a.difference, a.interval));
}

// "indistinguishable on .." and where nothing else is said.
void add_undecided(const Comparison& c, const PairSummary& pair, std::vector<std::string>& parts) {
  std::vector<std::string> undecided;
  std::size_t informative = 0;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    if (!c.tasks[t].informative) continue;
    ++informative;
    if (pair.tasks[t].verdict == Verdict::kIndistinguishable) undecided.push_back(c.tasks[t].task);
  }
  if (informative == 0 && parts.empty()) {
    parts.push_back("not comparable here, because no task carries information");
  } else if (undecided.empty()) {
    return;
  } else if (undecided.size() == informative) {
    parts.push_back(
        informative == 1
            ? fmt::format("indistinguishable on {}", undecided[0])
            : fmt::format("indistinguishable on all {} tasks with information", informative));
  } else if (undecided.size() <= 3) {
    parts.push_back("indistinguishable on " + join_words(undecided));
  } else {
    parts.push_back(fmt::format("indistinguishable on the other {} tasks", undecided.size()));
  }
}

}  // namespace

std::string points(double difference) {
  if (!std::isfinite(difference)) return "unknown";
  std::string text = fmt::format("{:+.1f}", difference * 100);
  return text == "+0.0" || text == "-0.0" ? "0.0" : text;
}

std::string interval_words(const Interval& interval) {
  return fmt::format("95 % interval {} to {}", points(interval.low), points(interval.high));
}

std::string margin_words(double margin) {
  const std::string number = fmt::format("{:g}", margin * 100);
  return number + (number == "1" ? " point" : " points");
}

std::string count_words(std::int64_t count) {
  std::string digits = fmt::format("{}", count);
  const std::size_t first = count < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string about_words(std::int64_t count) {
  std::int64_t step = 1;
  while (count / step >= 100) step *= 10;
  return "about " + count_words((count + step / 2) / step * step);
}

std::string size_words(std::int64_t bytes) {
  const auto size = static_cast<double>(bytes);
  if (bytes < 100'000) return count_words(bytes) + " bytes";
  return bytes >= 10'000'000'000 ? fmt::format("{:.1f} GB", size / 1e9)
                                 : fmt::format("{:.1f} MB", size / 1e6);
}

std::string join_words(const std::vector<std::string>& words) {
  if (words.empty()) return "nothing";
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " and " : ", ";
    out += words[i];
  }
  return out;
}

std::string verdict_words(Verdict verdict, bool within_margin, double margin) {
  if (verdict == Verdict::kEquivalent) return "equivalent within " + margin_words(margin);
  const bool shown = verdict == Verdict::kBetter || verdict == Verdict::kWorse;
  if (!shown || !within_margin) return verdict_name(verdict);
  return fmt::format("{} by less than the margin of {}", verdict_name(verdict),
                     margin_words(margin));
}

bool is_told(const Comparison& c, const PairSummary& pair, std::size_t t) {
  return carries_information(c, pair, t) || pair.tasks[t].verdict == Verdict::kWorse;
}

std::string task_sentence(const Comparison& c, const PairSummary& pair, std::size_t t) {
  const Difference& d = pair.tasks[t];
  const TaskSummary& task = c.tasks[t];
  const std::string& variant = c.runs[pair.variant].name;
  const std::string& baseline = c.runs[pair.baseline].name;
  const bool informative = carries_information(c, pair, t);
  const std::string no_information =
      informative ? "" : fmt::format("{} ({})", task.task, flag_words(c, pair, t));
  if (!informative && d.verdict != Verdict::kWorse) {
    return fmt::format("Nothing can be said from {}.", no_information);
  }
  std::string text = claim(variant, baseline, d.verdict, d.within_margin, c.margin);
  text += fmt::format(" on {}", task.task);
  if (d.verdict == Verdict::kIndistinguishable) {
    return text + fmt::format(" ({} {}, {}{}).", count_words(task.n),
                              task.n == 1 ? "item" : "items", interval_words(d.interval),
                              more_words(d.items_needed));
  }
  text += fmt::format(" ({})", interval_in_brackets(d.difference, d.interval));
  if (!informative) text += fmt::format("; the task says no more than that: {}", no_information);
  return text + ".";
}

std::string average_clause(const Comparison& c, const PairSummary& pair) {
  if (!pair.average) return "there is no average: no task of two or more items carries information";
  return fmt::format("on the average of {}, {} against {} is {}", tasks_words(pair.average->tasks),
                     c.runs[pair.variant].name, c.runs[pair.baseline].name, average_claim(c, pair));
}

std::string average_sentence(const Comparison& c, const PairSummary& pair) {
  std::string text = average_clause(c, pair);
  text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text + ".";
}

std::string pair_sentence(const Comparison& c, const PairSummary& pair) {
  std::vector<std::string> parts;
  for (const Verdict verdict : {Verdict::kWorse, Verdict::kBetter, Verdict::kEquivalent}) {
    const std::vector<std::string> tasks = tasks_with(c, pair, verdict);
    if (tasks.empty()) continue;
    const std::string words = verdict == Verdict::kEquivalent
                                  ? verdict_words(verdict, true, c.margin)
                                  : verdict_name(verdict);
    parts.push_back(fmt::format("{} on {}", words, join_words(tasks)));
  }
  add_undecided(c, pair, parts);
  std::string text = fmt::format("Against {}, {} is {}", c.runs[pair.baseline].name,
                                 c.runs[pair.variant].name, parts[0]);
  for (std::size_t i = 1; i < parts.size(); ++i) text += ", " + parts[i];
  if (pair.average && c.tasks.size() > 1) {
    text += fmt::format("; on the average of {} it is {}", tasks_words(pair.average->tasks),
                        average_claim(c, pair));
  }
  return text + ".";
}

std::string groups_sentence(const Comparison& c) {
  const Groups groups = find_groups(c);
  if (groups.groups.empty()) return "";
  std::vector<std::string> sets, alone;
  for (const auto& group : groups.groups) {
    std::vector<std::string> names;
    for (const std::size_t r : group) names.push_back(c.runs[r].name);
    (names.size() > 1 ? sets : alone).push_back(join_words(names));
  }
  std::string text = "On the average";
  if (sets.empty()) return text + " every run is told apart from every other.";
  text += ", these cannot be told apart: ";
  for (std::size_t i = 0; i < sets.size(); ++i) text += (i == 0 ? "" : "; ") + sets[i];
  if (!alone.empty()) {
    text += fmt::format(". Told apart from every other: {}", join_words(alone));
  }
  return text + ".";
}

std::string uninformative_sentence(const Comparison& c) {
  std::vector<std::string> tasks;
  for (const TaskSummary& t : c.tasks) {
    if (!t.informative) tasks.push_back(t.task);
  }
  if (tasks.empty()) return "";
  const bool one = tasks.size() == 1;
  return fmt::format(
      "{} {} no information (a run gives nearly every item the same answer index) and {} left out "
      "of the averages.",
      join_words(tasks), one ? "carries" : "carry", one ? "is" : "are");
}

}  // namespace qx
