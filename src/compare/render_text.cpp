// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "compare/recommend.h"
#include "compare/render.h"

namespace qx {
namespace {

// Columns as wide as their widest cell; the first is flush left, the others flush right. Width
// counts code points, which is right for the characters used here.
class Table {
 public:
  explicit Table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void add(std::vector<std::string> cells) {
    QX_CHECK(cells.size() == rows_[0].size());
    rows_.push_back(std::move(cells));
  }
  void add_rule() { rules_.push_back(rows_.size()); }

  std::string text() const {
    std::vector<std::size_t> widths(rows_[0].size(), 0);
    for (const auto& row : rows_) {
      for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
    }
    std::size_t total = 0;
    for (const std::size_t w : widths) total += w + 2;
    std::string out;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      if (r == 1 || std::find(rules_.begin(), rules_.end(), r) != rules_.end()) {
        out += "  " + std::string(total - 2, '-') + "\n";
      }
      std::string line;
      for (std::size_t c = 0; c < widths.size(); ++c) {
        const std::string pad(widths[c] - width(rows_[r][c]), ' ');
        line += "  " + (c == 0 ? rows_[r][c] + pad : pad + rows_[r][c]);
      }
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
    return out;
  }

 private:
  static std::size_t width(std::string_view s) {
    return static_cast<std::size_t>(
        std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  }
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> rules_;
};

std::string with_error(double value, double error) {
  return std::isnan(error) ? fmt::format("{:.4f}", value)
                           : fmt::format("{:.4f} ±{:.4f}", value, error);
}

std::string p_text(double p) {
  return p < 0.0001 ? "<0.0001" : fmt::format("{:.4f}", p);
}

std::string scores_table(const Comparison& c) {
  std::vector<std::string> head{"task", "n", "metric"};
  for (const RunInfo& run : c.runs) head.push_back(run.name);
  Table table(head);
  for (const TaskSummary& task : c.tasks) {
    std::vector<std::string> row{task.task, fmt::format("{}", task.n), task.metric};
    for (const Score& s : task.scores) {
      row.push_back(with_error(s.accuracy, s.stderr_) + (no_information(s.flags) ? " !" : ""));
    }
    table.add(row);
  }
  const auto used = std::count_if(c.tasks.begin(), c.tasks.end(),
                                  [](const TaskSummary& t) { return t.informative && t.n >= 2; });
  table.add_rule();
  std::vector<std::string> average{fmt::format("average of {} (macro)", used), "", ""};
  std::vector<std::string> bytes{"tensor bytes", "", ""}, bits{"bits per weight", "", ""};
  bool sizes = false;
  for (const RunInfo& run : c.runs) {
    average.push_back(run.average ? with_error(*run.average, *run.average_stderr) : "-");
    bytes.push_back(run.tensor_bytes
                        ? fmt::format("{:.1f} MB", static_cast<double>(*run.tensor_bytes) / 1e6)
                        : "-");
    bits.push_back(run.bits_per_weight ? fmt::format("{:.3f}", *run.bits_per_weight) : "-");
    sizes = sizes || run.tensor_bytes.has_value();
  }
  table.add(average);
  if (sizes) {
    table.add(bytes);
    table.add(bits);
  }
  return table.text();
}

std::string pair_table(const Comparison& c, const PairSummary& pair) {
  Table table({"task", "difference", "relative", "95 % interval", "right>wrong", "wrong>right",
               "changed", "p", "p (Holm)", "verdict"});
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    const Difference& d = pair.tasks[t];
    table.add({c.tasks[t].task + (c.tasks[t].informative ? "" : " !"),
               fmt::format("{:+.4f}", d.difference),
               d.relative ? fmt::format("{:+.1f} %", *d.relative * 100) : "-",
               fmt::format("{:+.4f} to {:+.4f}", d.interval.low, d.interval.high),
               fmt::format("{}", d.counts.right_to_wrong),
               fmt::format("{}", d.counts.wrong_to_right), fmt::format("{}", d.changed),
               p_text(d.p), p_text(d.p_holm), verdict_name(d.verdict)});
  }
  if (pair.average) {
    const AverageDifference& a = *pair.average;
    table.add_rule();
    table.add({"average (macro)", fmt::format("{:+.4f}", a.difference), "",
               fmt::format("{:+.4f} to {:+.4f}", a.interval.low, a.interval.high), "", "", "",
               p_text(a.p), "", verdict_name(a.verdict)});
  }
  return fmt::format("{} against {} (same items, paired)\n", c.runs[pair.variant].name,
                     c.runs[pair.baseline].name) +
         table.text();
}

// One line per task and kind of flag, with the runs that have it.
std::string flags_text(const Comparison& c) {
  std::string out;
  for (const TaskSummary& task : c.tasks) {
    for (std::size_t r = 0; r < task.scores.size(); ++r) {
      for (const Flag& f : task.scores[r].flags) {
        if (!no_information({f})) continue;
        out += fmt::format("  ! {}, {}: {}: no information, the task is left out of averages\n",
                           task.task, c.runs[r].name, f.text);
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
      out += fmt::format("  - {}: within a standard error of {} ({:.3f}): {}\n", task.task, what,
                         value, runs);
    };
    near(FlagKind::kNearChance, "guessing", task.chance);
    if (task.majority_share > task.chance + 1e-9) {
      near(FlagKind::kNearMajorityShare, "always giving the commonest answer", task.majority_share);
    }
  }
  return out.empty() ? "" : "Flags\n" + out + "\n";
}

// Wraps at 100 columns between words.
std::string wrap(std::string_view text) {
  std::string out, line;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t space = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, space - at);
    if (!line.empty() && line.size() + 1 + word.size() > 100) {
      out += line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + std::string(word);
    at = space + 1;
  }
  return out + line + "\n";
}

}  // namespace

std::string render_text(const Comparison& c) {
  std::string out = "Scores (accuracy ± standard error)\n" + scores_table(c) + "\n";
  for (const PairSummary& pair : c.against_baseline) out += pair_table(c, pair) + "\n";
  for (const PairSummary& pair : c.between_variants) out += pair_table(c, pair) + "\n";
  out += flags_text(c);
  for (const std::string& note : c.notes) out += "Note: " + note + "\n";
  if (!c.notes.empty()) out += "\n";
  return out + wrap(paragraph(c));
}

}  // namespace qx
