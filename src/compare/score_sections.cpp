// Scores, costs and differences as tables that fit 80 columns, with details for wider formats.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "compare/sections.h"
#include "compare/words.h"

namespace qx {
namespace {

constexpr const char* kNone = "-";

std::string or_none(bool exists, const std::string& text) {
  return exists ? text : kNone;
}

}  // namespace

std::string signed_points(double x) {
  return or_none(std::isfinite(x), points(x));
}

std::string interval_points(const Interval& i) {
  return or_none(std::isfinite(i.low) && std::isfinite(i.high),
                 fmt::format("{} to {}", points(i.low), points(i.high)));
}

std::string p_text(double p) {
  if (!std::isfinite(p)) return kNone;
  return p < 0.001 ? "<0.001" : fmt::format("{:.3f}", p);
}

// Three decimals: with errors above 0.002, which take 60,000 items to pass, a fourth says nothing.
std::string with_error(double value, double error) {
  if (!std::isfinite(value)) return kNone;
  return std::isfinite(error) ? fmt::format("{:.3f} ±{:.3f}", value, error)
                              : fmt::format("{:.3f}", value);
}

Tone tone_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kBetter:
      return Tone::kGood;
    case Verdict::kWorse:
      return Tone::kBad;
    case Verdict::kEquivalent:
      return Tone::kSame;
    case Verdict::kIndistinguishable:
      return Tone::kPlain;
  }
  return Tone::kPlain;
}

std::string mark_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kBetter:
      return "▲";
    case Verdict::kWorse:
      return "▼";
    case Verdict::kEquivalent:
      return "=";
    case Verdict::kIndistinguishable:
      return "";
  }
  return "";
}

std::string legend(const std::vector<Verdict>& used, std::string_view indistinguishable,
                   std::string_view margin) {
  std::vector<std::string> parts;
  for (const Verdict v : {Verdict::kBetter, Verdict::kWorse, Verdict::kEquivalent}) {
    if (std::find(used.begin(), used.end(), v) == used.end()) continue;
    parts.push_back(fmt::format("{} {}{}", mark_of(v), verdict_name(v),
                                v == Verdict::kEquivalent ? margin : ""));
  }
  parts.push_back(
      fmt::format("{}: {}", indistinguishable, verdict_name(Verdict::kIndistinguishable)));
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out;
}

std::string signed_decimals(double value) {
  return or_none(std::isfinite(value), fmt::format("{:+.4f}", value));
}

namespace {

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.1f}", static_cast<double>(bytes) / 1e6);
}

// Where all tasks have as many items, both averages are one.
bool micro_differs(const Comparison& c) {
  std::optional<std::int64_t> n;
  for (const TaskSummary& task : c.tasks) {
    if (!task.informative || task.n < 2) continue;
    if (n && *n != task.n) return true;
    n = task.n;
  }
  return false;
}

const PairSummary* against_baseline(const Comparison& c, std::size_t run) {
  for (const PairSummary& pair : c.against_baseline) {
    if (pair.variant == run) return &pair;
  }
  return nullptr;
}

// A score with the marks of its verdict against the baseline and of a task without information.
Cell score_cell(const std::string& score, std::optional<Verdict> verdict, bool no_information) {
  Cell cell(score);
  std::string marks = no_information ? "!" : "";
  if (verdict) {
    marks += mark_of(*verdict);
    cell.tone = tone_of(*verdict);
  }
  if (!marks.empty()) cell.text = marks + " " + score;
  return cell;
}

std::vector<Cell> average_row(const Comparison& c, const char* name, bool macro) {
  std::vector<Cell> row{name, "", ""};
  for (std::size_t r = 0; r < c.runs.size(); ++r) {
    const RunInfo& run = c.runs[r];
    const auto& value = macro ? run.average : run.micro;
    const auto& error = macro ? run.average_stderr : run.micro_stderr;
    if (!value) {
      row.emplace_back(kNone);
      continue;
    }
    const PairSummary* pair = against_baseline(c, r);
    std::optional<Verdict> verdict;
    if (pair != nullptr) {
      const auto& average = macro ? pair->average : pair->micro;
      if (average) verdict = average->verdict;
    }
    row.push_back(score_cell(with_error(*value, error.value_or(NAN)), verdict, false));
  }
  return row;
}

}  // namespace

Section scores_section(const Comparison& c) {
  Table table;
  table.may_turn = true;
  table.columns = {{"task", true, true}, {"n", false, true}, {"metric", true, true}};
  for (const RunInfo& run : c.runs) table.columns.push_back({run.name});
  std::int64_t used = 0;
  bool all_informative = true;
  std::vector<Verdict> verdicts;
  for (const PairSummary& pair : c.against_baseline) {
    for (std::size_t t = 0; t < c.tasks.size(); ++t) {
      if (is_told(c, pair, t)) verdicts.push_back(pair.tasks[t].verdict);
    }
    for (const auto* average : {&pair.average, &pair.micro}) {
      if (*average) verdicts.push_back((*average)->verdict);
    }
  }
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    const TaskSummary& task = c.tasks[t];
    std::vector<Cell> row{task.task, fmt::format("{}", task.n), task.metric};
    for (std::size_t r = 0; r < c.runs.size(); ++r) {
      const Score& s = task.scores[r];
      const PairSummary* pair = against_baseline(c, r);
      row.push_back(score_cell(with_error(s.accuracy, s.clustered_stderr.value_or(s.stderr_)),
                               pair != nullptr && is_told(c, *pair, t)
                                   ? std::optional(pair->tasks[t].verdict)
                                   : std::nullopt,
                               no_information(s.flags)));
      // A verdict on a task without information is no reason for a colour.
      if (!task.informative) row.back().tone = Tone::kFaint;
    }
    table.rows.push_back(std::move(row));
    used += task.informative && task.n >= 2 ? 1 : 0;
    all_informative = all_informative && task.informative;
  }
  table.rules.push_back(table.rows.size());
  table.rows.push_back(average_row(c, "macro average", true));
  if (micro_differs(c)) table.rows.push_back(average_row(c, "micro average", false));
  std::string about = "Accuracy ± standard error";
  if (used > 0) {
    about += fmt::format("; averages over {} with information",
                         used == 1 ? "the one task" : fmt::format("the {} tasks", used));
  }
  about +=
      fmt::format(". Against {}: {}.", c.runs[c.baseline].name,
                  legend(verdicts, "no mark", fmt::format(" (within {})", margin_words(c.margin))));
  if (!all_informative) about += " !: no information.";
  return {"Scores", {Paragraph{about}, table}};
}

namespace {

// A column of facts that some runs have.
struct FactColumn {
  Column column;
  std::string (*text)(const RunInfo&);  // "" where the run does not have it
};

std::string rate(double tokens_per_second) {
  return tokens_per_second > 0 ? fmt::format("{:.1f}", tokens_per_second) : "";
}

const std::vector<FactColumn>& fact_columns() {
  static const std::vector<FactColumn> columns = {
      {{"MB"}, [](const RunInfo& r) { return r.tensor_bytes ? megabytes(*r.tensor_bytes) : ""; }},
      {{"bits/weight"},
       [](const RunInfo& r) {
         return r.bits_per_weight ? fmt::format("{:.3f}", *r.bits_per_weight) : "";
       }},
      {{"prompt tok/s"},
       [](const RunInfo& r) { return r.speed ? rate(r.speed->prefill_tps) : ""; }},
      {{"gen tok/s"}, [](const RunInfo& r) { return r.speed ? rate(r.speed->decode_tps) : ""; }},
      {{"peak MB"},
       [](const RunInfo& r) {
         return r.speed && r.speed->peak_rss_bytes > 0 ? megabytes(r.speed->peak_rss_bytes) : "";
       }},
      {{"MB/token", false, false, true},
       [](const RunInfo& r) {
         return r.speed && r.speed->bytes_per_token > 0 ? megabytes(r.speed->bytes_per_token) : "";
       }},
      {{"precision", false, false, true},
       [](const RunInfo& r) { return r.speed ? r.speed->precision : std::string(); }},
      {{"KL mean"},
       [](const RunInfo& r) {
         return r.distance
                    ? fmt::format("{:.4f} ±{:.4f}", r.distance->kl_mean, r.distance->kl_stderr)
                    : "";
       }},
      {{"KL 99 %", false, false, true},
       [](const RunInfo& r) {
         return r.distance ? fmt::format("{:.4f}", r.distance->kl_p99) : "";
       }},
      {{"same top-1"},
       [](const RunInfo& r) {
         return r.distance ? fmt::format("{:.1f} %", r.distance->top1_agreement * 100) : "";
       }},
      {{"perplexity"},
       [](const RunInfo& r) {
         return r.distance ? fmt::format("{:.3f} ±{:.3f}", r.distance->ppl, r.distance->ppl_stderr)
                           : "";
       }},
  };
  return columns;
}

}  // namespace

std::optional<Section> cost_section(const Comparison& c) {
  Table table;
  table.columns = {{"run", true, true}};
  for (const RunInfo& run : c.runs) table.rows.push_back({run.name});
  for (const FactColumn& fact : fact_columns()) {
    const bool any = std::any_of(c.runs.begin(), c.runs.end(),
                                 [&](const RunInfo& run) { return !fact.text(run).empty(); });
    if (!any) continue;
    table.columns.push_back(fact.column);
    for (std::size_t r = 0; r < c.runs.size(); ++r) {
      const std::string text = fact.text(c.runs[r]);
      table.rows[r].emplace_back(text.empty() ? kNone : text);
    }
  }
  if (table.columns.size() == 1) return std::nullopt;
  Section section{table.columns.size() > 3 ? "Size, speed and distance" : "Size", {}};
  std::string about = "MB: stored tensors, 10⁶ bytes.";
  for (const RunInfo& run : c.runs) {
    if (!run.distance) continue;
    about += fmt::format(
        " KL (nats), top-1 token and perplexity: against {} on {} tokens of the same text.",
        run.distance->base, run.distance->tokens);
    break;
  }
  section.parts.emplace_back(Paragraph{about});
  section.parts.emplace_back(table);
  return section;
}

namespace {

std::vector<Cell> difference_row(const TaskSummary& task, const Difference& d, bool told) {
  return {task.task + (task.informative ? "" : " !"),
          signed_points(d.difference),
          interval_points(d.interval),
          d.relative ? fmt::format("{:+.1f} %", *d.relative * 100) : kNone,
          p_text(d.p_holm),
          Cell(told ? verdict_name(d.verdict) : "no information",
               task.informative ? tone_of(d.verdict) : Tone::kFaint),
          fmt::format("{}", d.counts.right_to_wrong),
          fmt::format("{}", d.counts.wrong_to_right),
          fmt::format("{}", d.changed),
          p_text(d.p),
          p_text(d.p_equivalence_holm),
          or_none(std::isfinite(d.detectable), fmt::format("{:.1f}", d.detectable * 100)),
          d.items_needed ? about_words(*d.items_needed) : kNone};
}

std::vector<Cell> average_difference_row(const char* name, const AverageDifference& a,
                                         std::optional<double> baseline) {
  const bool relative = baseline && *baseline > 0;
  return {name,
          signed_points(a.difference),
          interval_points(a.interval),
          relative ? fmt::format("{:+.1f} %", a.difference / *baseline * 100) : kNone,
          p_text(a.p_holm),
          Cell(verdict_name(a.verdict), tone_of(a.verdict)),
          "",
          "",
          "",
          p_text(a.p),
          p_text(a.p_equivalence_holm),
          "",
          a.items_needed ? about_words(*a.items_needed) : kNone};
}

}  // namespace

Section pair_section(const Comparison& c, const PairSummary& pair) {
  Table table;
  table.columns = {{"task", true, true},
                   {"points"},
                   {"95 % interval"},
                   {"relative"},
                   {"Holm p"},
                   {"verdict", true},
                   {"right>wrong", false, false, true},
                   {"wrong>right", false, false, true},
                   {"changed", false, false, true},
                   {"p", false, false, true},
                   {"Holm p of equivalence", false, false, true},
                   {"detectable points", false, false, true},
                   {"more items needed", false, false, true}};
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    table.rows.push_back(difference_row(c.tasks[t], pair.tasks[t], is_told(c, pair, t)));
  }
  if (pair.average) {
    table.rules.push_back(table.rows.size());
    const RunInfo& base = c.runs[pair.baseline];
    table.rows.push_back(average_difference_row("macro average", *pair.average, base.average));
    if (pair.micro && micro_differs(c)) {
      table.rows.push_back(average_difference_row("micro average", *pair.micro, base.micro));
    }
  }
  return {fmt::format("{} against {}", c.runs[pair.variant].name, c.runs[pair.baseline].name),
          {table}};
}

// Right to wrong, wrong to right, and changed, in one cell a task and variant.
Section changes_section(const Comparison& c) {
  Table table;
  table.may_turn = true;
  table.columns = {{"task", true, true}, {"n", false, true}};
  for (const PairSummary& pair : c.against_baseline) {
    table.columns.push_back({c.runs[pair.variant].name});
  }
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    std::vector<Cell> row{c.tasks[t].task, fmt::format("{}", c.tasks[t].n)};
    for (const PairSummary& pair : c.against_baseline) {
      const Difference& d = pair.tasks[t];
      row.emplace_back(
          fmt::format("{} / {} / {}", d.counts.right_to_wrong, d.counts.wrong_to_right, d.changed));
    }
    table.rows.push_back(std::move(row));
  }
  return {
      "Answers that changed",
      {Paragraph{fmt::format("Items that {} has right and the variant wrong / wrong and right / "
                             "both wrong with another pick, which accuracy cannot see.",
                             c.runs[c.baseline].name)},
       table}};
}
}  // namespace qx
