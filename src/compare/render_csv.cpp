// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>
#include <concepts>
#include <iterator>
#include <string_view>

#include "compare/groups.h"
#include "compare/render.h"

namespace qx {
namespace {

// RFC 4180: a field with a comma, a quote or a line break stands in quotes, and a quote in it
// twice.
std::string quoted(std::string_view field) {
  if (field.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(field);
  std::string out = "\"";
  for (const char c : field) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

class Row {
 public:
  void add(std::string_view field) {
    line_ += (first_ ? "" : ",") + quoted(field);
    first_ = false;
  }
  void add(double x) { add(std::isfinite(x) ? fmt::format("{}", x) : std::string()); }
  void add(std::integral auto x) { add(std::string_view(fmt::format("{}", x))); }
  template <typename T>
  void add(const std::optional<T>& x) {
    if (x) {
      add(*x);
    } else {
      add(std::string_view());
    }
  }
  void add_empty(int fields) {
    for (int i = 0; i < fields; ++i) add(std::string_view());
  }
  std::string line() const { return line_ + "\n"; }

 private:
  std::string line_;
  bool first_ = true;
};

constexpr const char* kScoreNames[] = {"task",   "run",    "baseline", "metric",      "n",    "acc",
                                       "stderr", "ci_low", "ci_high",  "informative", "flags"};
constexpr const char* kDifferenceNames[] = {"diff",
                                            "relative",
                                            "diff_stderr",
                                            "diff_ci_low",
                                            "diff_ci_high",
                                            "score_ci_low",
                                            "score_ci_high",
                                            "right_to_wrong",
                                            "wrong_to_right",
                                            "changed",
                                            "clusters",
                                            "test",
                                            "p",
                                            "p_mid",
                                            "p_holm",
                                            "p_equivalence",
                                            "p_equivalence_holm",
                                            "within_margin",
                                            "detectable",
                                            "items_needed",
                                            "verdict"};
constexpr const char* kRunNames[] = {
    "group",          "tensor_bytes", "bits_per_weight", "prefill_tps",    "decode_tps",
    "peak_rss_bytes", "kl_mean",      "kl_stderr",       "top1_agreement", "ppl"};

void add_score(Row& row, const Comparison& c, std::size_t t, std::size_t r) {
  const TaskSummary& task = c.tasks[t];
  const Score& s = task.scores[r];
  row.add(task.task);
  row.add(c.runs[r].name);
  row.add(c.runs[c.baseline].name);
  row.add(task.metric);
  row.add(task.n);
  row.add(s.accuracy);
  row.add(s.clustered_stderr.value_or(s.stderr_));
  row.add(s.interval.low);
  row.add(s.interval.high);
  row.add(std::string_view(task.informative ? "true" : "false"));
  std::string flags;
  for (const Flag& f : s.flags) flags += (flags.empty() ? "" : " ") + flag_name(f.kind);
  row.add(flags);
}

void add_difference(Row& row, const Difference& d) {
  row.add(d.difference);
  row.add(d.relative);
  row.add(d.stderr_);
  row.add(d.interval.low);
  row.add(d.interval.high);
  row.add(d.score_interval.low);
  row.add(d.score_interval.high);
  row.add(d.counts.right_to_wrong);
  row.add(d.counts.wrong_to_right);
  row.add(d.changed);
  row.add(d.clusters);
  row.add(std::string_view("paired"));
  row.add(d.p);
  row.add(d.p_mid);
  row.add(d.p_holm);
  row.add(d.p_equivalence);
  row.add(d.p_equivalence_holm);
  row.add(std::string_view(d.within_margin ? "true" : "false"));
  row.add(d.detectable);
  row.add(d.items_needed);
  row.add(verdict_name(d.verdict));
}

void add_run(Row& row, const RunInfo& run, const std::string& letters) {
  row.add(letters);
  row.add(run.tensor_bytes);
  row.add(run.bits_per_weight);
  if (run.speed) {
    for (const double tps : {run.speed->prefill_tps, run.speed->decode_tps}) {
      row.add(tps > 0 ? std::optional(tps) : std::nullopt);  // 0: not measured
    }
    row.add(run.speed->peak_rss_bytes);
  } else {
    row.add_empty(3);
  }
  if (run.distance) {
    row.add(run.distance->kl_mean);
    row.add(run.distance->kl_stderr);
    row.add(run.distance->top1_agreement);
    row.add(run.distance->ppl);
  } else {
    row.add_empty(4);
  }
}

// A run of which only accuracies are known, or of one that is compared with such a run.
std::string unpaired_line(const UnpairedPair& pair, const UnpairedTask& t) {
  Row row;
  row.add(t.task);
  row.add(pair.variant);
  row.add(pair.baseline);
  row.add(t.metric);
  row.add(t.variant.n);
  row.add(t.variant.accuracy);
  row.add_empty(5);
  row.add(t.difference);
  row.add_empty(2);
  row.add(t.interval.low);
  row.add(t.interval.high);
  row.add_empty(6);
  row.add(std::string_view("two proportions"));
  row.add(t.p);
  row.add_empty(1);
  row.add(t.p_holm);
  row.add_empty(5);
  row.add(verdict_name(t.verdict));
  row.add_empty(static_cast<int>(std::size(kRunNames)));
  return row.line();
}

std::string unpaired_lines(const ComparedRuns& compared) {
  std::string out;
  for (const UnpairedPair& pair : compared.unpaired) {
    for (const UnpairedTask& t : pair.tasks) out += unpaired_line(pair, t);
  }
  return out;
}

}  // namespace

std::string render_csv(const ComparedRuns& given) {
  const ComparedRuns compared = presentable(given);
  Row head;
  for (const char* name : kScoreNames) head.add(std::string_view(name));
  for (const char* name : kDifferenceNames) head.add(std::string_view(name));
  for (const char* name : kRunNames) head.add(std::string_view(name));
  std::string out = head.line();
  if (!compared.paired) return out + unpaired_lines(compared);
  const Comparison& c = *compared.paired;
  const std::vector<std::string> letters = find_groups(c).letters;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    for (std::size_t r = 0; r < c.runs.size(); ++r) {
      Row row;
      add_score(row, c, t, r);
      const PairSummary* mine = nullptr;
      for (const PairSummary& pair : c.against_baseline) {
        if (pair.variant == r) mine = &pair;
      }
      if (mine != nullptr) {
        add_difference(row, mine->tasks[t]);
      } else {
        row.add_empty(static_cast<int>(std::size(kDifferenceNames)));
      }
      add_run(row, c.runs[r], letters.empty() ? "" : letters[r]);
      out += row.line();
    }
  }
  return out + unpaired_lines(compared);
}

}  // namespace qx
