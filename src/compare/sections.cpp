// The document of a comparison: which sections there are, and the ones that are not tables of
// numbers.
// SPDX-License-Identifier: Apache-2.0
#include "compare/sections.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "compare/groups.h"
#include "compare/recommend.h"
#include "compare/render.h"
#include "compare/words.h"
#include "text/visible.h"

namespace qx {
namespace {

std::string safe(const std::string& text) {
  return visible_text(text, Blanks::kEdges);
}

void make_safe(std::vector<std::string>& texts) {
  for (std::string& text : texts) text = safe(text);
}

// Also what files beside the run say, which may come from anywhere.
void make_safe(RunInfo& run) {
  run.name = safe(run.name);
  if (run.speed) {
    for (std::string* text : {&run.speed->isa, &run.speed->precision, &run.speed->cpu}) {
      *text = safe(*text);
    }
  }
  if (run.distance) run.distance->base = safe(run.distance->base);
}

// One line per task and kind of flag, with the runs that have it.
std::vector<std::string> flag_lines(const Comparison& c) {
  std::vector<std::string> lines;
  for (const TaskSummary& task : c.tasks) {
    for (std::size_t r = 0; r < task.scores.size(); ++r) {
      for (const Flag& f : task.scores[r].flags) {
        if (!no_information({f})) continue;
        lines.push_back(
            fmt::format("! {}: {} {}; no information, so the task is left out of averages",
                        task.task, c.runs[r].name, f.text));
      }
    }
    const auto near = [&](FlagKind kind, std::string_view what, double value) {
      std::string runs;
      for (std::size_t r = 0; r < task.scores.size(); ++r) {
        const auto& flags = task.scores[r].flags;
        const bool has =
            std::any_of(flags.begin(), flags.end(), [&](const Flag& f) { return f.kind == kind; });
        if (has) runs += (runs.empty() ? "" : ", ") + c.runs[r].name;
      }
      if (runs.empty()) return;
      lines.push_back(fmt::format("{}: within a standard error of {} ({:.3f}): {}", task.task, what,
                                  value, runs));
    };
    near(FlagKind::kNearChance, "guessing", task.chance);
    if (task.majority_share > task.chance + 1e-9) {
      near(FlagKind::kNearMajorityShare, "always giving the commonest answer", task.majority_share);
    }
  }
  return lines;
}

Section gates_section(const std::vector<GateResult>& gates) {
  Table table;
  table.columns = {
      {"gate", true, true}, {"variant", true}, {"estimate"}, {"95 % bound"}, {"gate is", true}};
  for (const GateResult& r : gates) {
    table.rows.push_back(
        {r.gate, r.variant, signed_decimals(r.estimate),
         fmt::format("{} {}", r.above ? "lower" : "upper", signed_decimals(r.bound)),
         r.held ? Cell("held", Tone::kGood) : Cell("broken", Tone::kBad)});
  }
  return {"Gates", {table}};
}

Section flips_section(const TaskFlips& t) {
  std::int64_t lost = 0, won = 0, changed = 0;
  Table table;
  table.columns = {
      {"index", false, true}, {"flip", true, true}, {"gold"}, {"picks"}, {"margin"}, {"to"},
      {"moved by"},           {"doc_hash", true}};
  for (const Flip& f : t.flips) {
    ++(f.kind == FlipKind::kRightToWrong   ? lost
       : f.kind == FlipKind::kWrongToRight ? won
                                           : changed);
    table.rows.push_back({fmt::format("{}", f.index), flip_name(f.kind), fmt::format("{}", f.gold),
                          fmt::format("{}>{}", f.from, f.to), signed_decimals(f.margin_from),
                          signed_decimals(f.margin_to), signed_decimals(f.move()),
                          f.doc_hash.substr(0, 12)});
  }
  Section section{fmt::format("Flips of {} against {}: {}", t.variant, t.baseline, t.task),
                  {Paragraph{fmt::format(
                      "{} of {} items ({}): {} right to wrong, {} wrong to right, {} wrong both "
                      "times with another pick.",
                      t.flips.size(), t.items, t.metric, lost, won, changed)}}};
  if (!t.flips.empty()) section.parts.emplace_back(table);
  return section;
}

Section unpaired_section(const UnpairedPair& pair) {
  Table table;
  table.columns = {{"task", true, true},
                   {"metric", true, false, true},
                   {"base, variant"},
                   {"items", false, false, true},
                   {"points"},
                   {"95 % interval"},
                   {"p", false, false, true},
                   {"Holm p"},
                   {"verdict", true}};
  for (const UnpairedTask& t : pair.tasks) {
    table.rows.push_back({t.task, t.metric,
                          fmt::format("{:.3f}, {:.3f}", t.baseline.accuracy, t.variant.accuracy),
                          fmt::format("{}, {}", t.baseline.n, t.variant.n),
                          signed_points(t.difference), interval_points(t.interval), p_text(t.p),
                          p_text(t.p_holm), Cell(verdict_name(t.verdict), tone_of(t.verdict))});
  }
  Section section{
      fmt::format("{} against {}, unpaired", pair.variant, pair.baseline),
      {Paragraph{"Only accuracies are known of one of them: the test of two proportions, "
                 "which is weaker than a paired one."},
       table}};
  if (!pair.left_out.empty()) {
    BulletList list;
    for (const std::string& task : pair.left_out) {
      list.items.push_back(
          fmt::format("{} is left out: not both have an accuracy of the same metric", task));
    }
    section.parts.emplace_back(list);
  }
  return section;
}

// Runs by number against each other: one mark a pair, so that eight fit.
Section matrix_section(const Comparison& c) {
  const VerdictMatrix verdicts = verdict_matrix(c);
  const Groups groups = find_groups(c);
  Table table;
  table.columns = {{"run", true, true}, {"group", true, true}};
  std::vector<Verdict> used;
  for (std::size_t r = 0; r < c.runs.size(); ++r)
    table.columns.push_back({fmt::format("{}", r + 1)});
  for (std::size_t r = 0; r < c.runs.size(); ++r) {
    std::vector<Cell> row{fmt::format("{} {}", r + 1, c.runs[r].name),
                          groups.letters.empty() ? "-" : groups.letters[r]};
    for (std::size_t other = 0; other < c.runs.size(); ++other) {
      const auto& verdict = verdicts[r][other];
      if (verdict) used.push_back(*verdict);
      if (r == other) {
        row.emplace_back("");
      } else if (!verdict) {
        row.emplace_back("-");
      } else if (*verdict == Verdict::kIndistinguishable) {
        row.emplace_back("·", Tone::kFaint);
      } else {
        row.emplace_back(mark_of(*verdict), tone_of(*verdict));
      }
    }
    table.rows.push_back(std::move(row));
  }
  Section section{
      "Every run against every other, on the macro average",
      {Paragraph{fmt::format("The run of the row is, against the run of the column: {}. Runs "
                             "that share a letter cannot be told apart.",
                             legend(used, "·", ""))},
       table}};
  if (const std::string text = groups_sentence(c); !text.empty()) {
    section.parts.emplace_back(Paragraph{text});
  }
  return section;
}

std::optional<Section> notes_section(const ComparedRuns& all) {
  BulletList list;
  if (all.paired) {
    list.items = flag_lines(*all.paired);
    list.items.insert(list.items.end(), all.paired->notes.begin(), all.paired->notes.end());
  }
  list.items.insert(list.items.end(), all.notes.begin(), all.notes.end());
  if (list.items.empty()) return std::nullopt;
  return Section{"Notes", {list}};
}

Section recommendation_section(const Comparison& c, std::optional<std::int64_t> budget) {
  BulletList list;
  for (const Recommendation& r : recommend(c, {budget})) {
    list.items.push_back(r.choice ? fmt::format("{}: {}, {}", r.use, *r.choice, r.because)
                                  : fmt::format("{}: not decided, {}", r.use, r.because));
  }
  return {"Recommendation", {list}};
}

void add_paired(ComparisonPage& document, const Comparison& c, bool all_pairs) {
  const auto add = [&](Section section) { document.sections.push_back(std::move(section)); };
  add(scores_section(c));
  if (auto cost = cost_section(c)) add(std::move(*cost));
  for (const PairSummary& pair : c.against_baseline) add(pair_section(c, pair));
  // Of many runs the matrix below says enough.
  if (all_pairs || c.between_variants.size() == 1) {
    for (const PairSummary& pair : c.between_variants) add(pair_section(c, pair));
  }
  add(changes_section(c));
  if (c.runs.size() > 2) add(matrix_section(c));
}

}  // namespace

ComparedRuns presentable(ComparedRuns all) {
  all.baseline = safe(all.baseline);
  make_safe(all.notes);
  if (all.paired) {
    for (RunInfo& run : all.paired->runs) make_safe(run);
    for (TaskSummary& task : all.paired->tasks) {
      task.task = safe(task.task);
      task.metric = safe(task.metric);
    }
    make_safe(all.paired->notes);
  }
  for (UnpairedPair& pair : all.unpaired) {
    pair.baseline = safe(pair.baseline);
    pair.variant = safe(pair.variant);
    make_safe(pair.left_out);
    for (UnpairedTask& task : pair.tasks) task.task = safe(task.task);
  }
  if (all.flips) {
    for (TaskFlips& t : *all.flips) {
      for (std::string* name : {&t.task, &t.metric, &t.baseline, &t.variant}) *name = safe(*name);
      for (Flip& flip : t.flips) flip.doc_hash = safe(flip.doc_hash);
    }
  }
  for (GateResult& r : all.gates) {
    for (std::string* text : {&r.gate, &r.variant, &r.subject, &r.reason}) *text = safe(*text);
  }
  return all;
}

ComparisonPage comparison_document(const ComparedRuns& compared) {
  const ComparedRuns all = presentable(compared);
  ComparisonPage document{fmt::format("Comparison against {}", all.baseline), {}};
  const auto add = [&](Section section) { document.sections.push_back(std::move(section)); };
  if (all.paired) add_paired(document, *all.paired, all.all_pairs);
  for (const UnpairedPair& pair : all.unpaired) add(unpaired_section(pair));
  if (all.flips) {
    for (const TaskFlips& flips : *all.flips) add(flips_section(flips));
  }
  if (auto notes = notes_section(all)) add(std::move(*notes));
  if (!all.gates.empty()) add(gates_section(all.gates));
  if (all.paired) {
    add(recommendation_section(*all.paired, all.budget));
    add({"In words", {Paragraph{paragraph(*all.paired)}}});
  }
  return document;
}

std::string render_text(const ComparedRuns& compared, const PageStyle& style) {
  return document_text(comparison_document(compared), style);
}

std::string render_text(const Comparison& comparison) {
  ComparedRuns compared;
  compared.baseline = comparison.runs[comparison.baseline].name;
  compared.paired = comparison;
  return render_text(compared, {});
}

std::string render_markdown(const ComparedRuns& compared) {
  return document_markdown(comparison_document(compared));
}

std::string render_html(const ComparedRuns& compared) {
  return document_html(comparison_document(compared));
}

}  // namespace qx
