// What the card says about differences, in the words of compare/words.h alone, and which tasks say
// little.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "card/card_text.h"
#include "card/sections.h"
#include "compare/words.h"

namespace qx {
namespace {

std::string p_text(double p) {
  if (!(p >= 0)) return "";
  return p < 0.001 ? "p < 0.001" : fmt::format("p = {:.3f}", p);
}

std::string interval_text(const Interval& interval) {
  return points(interval.low) + " to " + points(interval.high);
}

// The paired table against the base. Its cells hold words, so that nobody takes a change for a
// score.
std::string pair_table(const Comparison& c, const PairSummary& pair) {
  std::vector<std::vector<std::string>> rows;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    const Difference& d = pair.tasks[t];
    const auto items = [&](std::int64_t count) {
      return fmt::format("{} of {}", count, c.tasks[t].n);
    };
    // A task without information gives no change that anybody should read, unless it is a loss.
    const bool says = is_told(c, pair, t);
    rows.push_back({markdown_text(c.tasks[t].task), says ? points(d.difference) + " points" : "",
                    says ? interval_text(d.interval) : "", items(d.counts.right_to_wrong),
                    items(d.counts.wrong_to_right), says ? p_text(d.p_holm) : "",
                    says ? verdict_name(d.verdict) : "no information"});
  }
  if (pair.average) {
    const AverageDifference& a = *pair.average;
    rows.push_back({average_label(a.tasks), points(a.difference) + " points",
                    interval_text(a.interval), "", "", p_text(a.p_holm), verdict_name(a.verdict)});
  }
  return markdown_table({"task", "change", "95 % interval", "right to wrong", "wrong to right",
                         "p after Holm", "verdict"},
                        rows, {true, false, false, false, false, false, true});
}

// Why a task says nothing about any of the models, and whatever else is odd about this one.
std::string degenerate_tasks(const CardFacts& facts) {
  std::string out;
  for (const TaskSummary& t : facts.comparison.tasks) {
    for (const std::size_t r : column_order(facts)) {
      for (const Flag& flag : t.scores[r].flags) {
        if (r != facts.self() && !no_information({flag})) continue;
        out += list_item(markdown_text(t.task) + ", " + run_text(facts, r) + ": " +
                         markdown_text(flag.text));
      }
    }
  }
  if (out.empty()) return "";
  return "### Tasks that say little\n\nScores that a model without knowledge could have.\n\n" + out;
}

std::string against_base(const CardFacts& facts) {
  const Comparison& c = facts.comparison;
  const PairSummary& pair = pair_of(c, *facts.base, facts.self());
  const std::string& name = facts.runs[*facts.base].name;
  std::string out = "### Against the base (paired)\n\n";
  if (name != "base") out += "The base is " + code_text(name) + ".\n\n";
  out += pair_table(c, pair) + "\n";
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    if (is_told(c, pair, t)) out += list_item(markdown_text(task_sentence(c, pair, t)));
  }
  return out + list_item(markdown_text(average_sentence(c, pair)));
}

// Of each other variant: the tasks that decide something, and the average.
std::string against_others(const CardFacts& facts) {
  const Comparison& c = facts.comparison;
  std::string out;
  bool all_told = true;
  for (const std::size_t r : column_order(facts)) {
    if (r == facts.self() || r == facts.base) continue;
    const PairSummary& pair = pair_of(c, r, facts.self());
    for (std::size_t t = 0; t < c.tasks.size(); ++t) {
      const bool told = is_told(c, pair, t);
      all_told = all_told && told;
      if (!told || pair.tasks[t].verdict == Verdict::kIndistinguishable) continue;
      out += list_item(markdown_text(task_sentence(c, pair, t)));
    }
    out += list_item(markdown_text(average_sentence(c, pair)));
  }
  if (out.empty()) return "";
  return fmt::format(
             "### Against the other variants (paired)\n\nTasks that are not named here are "
             "indistinguishable between the two{}.\n\n",
             all_told ? "" : ", or carry no information about one of them") +
         out;
}

}  // namespace

std::string average_label(std::int64_t tasks) {
  return fmt::format("average of {} task{}", tasks, tasks == 1 ? "" : "s");
}

std::string card_verdicts(const CardFacts& facts) {
  std::string out = "## Verdicts\n\n";
  const std::string degenerate = degenerate_tasks(facts);
  if (!facts.base) {
    out +=
        "The base is not among the runs that this card was made from, so nothing is said about "
        "differences.\n";
    return degenerate.empty() ? out : out + "\n" + degenerate;
  }
  out += fmt::format(
      "All models answered the same questions, so what is tested is the questions on which two of "
      "them differ (exact\nMcNemar test, Holm's correction over the tasks of a pair). *Better* and "
      "*worse*: the difference is shown.\n*Equivalent*: shown to lie within {}. "
      "*Indistinguishable*: the data show neither, which is no sign of equality.\n\n",
      margin_words(facts.margin));
  out += against_base(facts);
  for (const std::string& part : {against_others(facts), degenerate}) {
    if (!part.empty()) out += "\n" + part;
  }
  return out;
}

}  // namespace qx
