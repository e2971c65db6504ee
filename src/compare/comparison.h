// Compares evaluation runs item by item: scores with errors, paired differences to a baseline and
// between the variants, degenerate tasks, verdicts. Pure computation over answers that are already
// in memory; text, JSON and prose are made from its result (render.h, prose.h). Formulas:
// stats/stats.h, docs/statistics.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "stats/stats.h"

namespace qx {

// One item as one run answered it, under the metric that is compared.
struct ItemResult {
  std::int64_t index = 0;  // row in the data file
  std::string doc_hash;
  int gold = 0, chosen = 0, choices = 0;
  bool right = false;
  double margin = 0;  // gold_margin (runs/choice_metric.h)
};

struct TaskResults {
  std::string task;
  std::string metric;             // "acc", "acc_norm", "acc_bytes"
  std::vector<ItemResult> items;  // rising by index
};

struct RunResults {
  std::string name;
  std::map<std::string, TaskResults> tasks;  // by task name
  std::optional<std::int64_t> tensor_bytes;
  std::optional<double> bits_per_weight;
};

enum class Verdict { kBetter, kWorse, kIndistinguishable };
std::string verdict_name(Verdict verdict);
// difference: of the variant to the baseline. p: adjusted; a NaN decides nothing.
Verdict decide_verdict(double p, double difference);

enum class FlagKind {
  kConstantAnswer,     // one answer index for every item
  kOneAnswerIndex,     // one answer index for at least 95 % of the items
  kNearMajorityShare,  // accuracy within its standard error of always giving the commonest answer
  kNearChance,         // accuracy within its standard error of guessing
};
struct Flag {
  FlagKind kind;
  std::string text;
};
std::string flag_name(FlagKind kind);  // "constant_answer", ..
// Flags that say the task carries no information about this variant.
bool no_information(const std::vector<Flag>& flags);

struct Score {
  std::int64_t right = 0, n = 0;
  double accuracy = 0, stderr_ = 0;
  Interval interval;  // Wilson, 95 %
  std::vector<Flag> flags;
};

struct Difference {
  PairedCounts counts;
  std::int64_t changed = 0;        // another pick, wrong before and after
  double difference = 0;           // variant - baseline, in accuracy
  std::optional<double> relative;  // difference / baseline accuracy; nothing when that is 0
  Interval interval;               // Newcombe, paired, 95 %
  double p = 1, p_holm = 1;        // exact McNemar; Holm over the tasks of this pair
  double detectable = 0;           // at 80 % power; NaN when it cannot be told
  Verdict verdict = Verdict::kIndistinguishable;
};

struct TaskSummary {
  std::string task, metric;
  std::int64_t n = 0;
  double majority_share = 0;  // of the commonest gold index
  double chance = 0;          // mean over items of 1 / choices
  bool informative = true;    // false: some variant's flags say "no information"
  std::vector<Score> scores;  // one per run, in the order of Comparison::runs
};

struct AverageDifference {
  double difference = 0, stderr_ = 0;
  Interval interval;  // normal, 95 %
  double p = 1;
  Verdict verdict = Verdict::kIndistinguishable;
};

// Everything about variant `variant` against run `baseline` (positions in Comparison::runs).
struct PairSummary {
  std::size_t baseline = 0, variant = 0;
  std::vector<Difference> tasks;             // in the order of Comparison::tasks
  std::optional<AverageDifference> average;  // over the informative tasks; macro
};

struct RunInfo {
  std::string name;
  std::optional<std::int64_t> tensor_bytes;
  std::optional<double> bits_per_weight;
  std::optional<double> average, average_stderr;  // macro, over the informative tasks
};

struct Comparison {
  std::vector<RunInfo> runs;
  std::size_t baseline = 0;
  std::vector<TaskSummary> tasks;
  std::vector<PairSummary> against_baseline;  // one per run other than the baseline
  std::vector<PairSummary> between_variants;  // each pair of runs of which neither is the baseline
  std::vector<std::string> notes;             // what was left out, and why
};

constexpr double kAlpha = 0.05;
constexpr double kConfidence = 0.95;
constexpr double kPower = 0.80;
constexpr double kOneAnswerShare = 0.95;

// Items that not every run has are left out, with a note; tasks that not every run has likewise.
// Fails: Error when a common item differs between runs (other data under one index), when a task
// has no common item, or when no common task is left. UsageError for fewer than two runs or two of
// one name.
Comparison compare_runs(const std::vector<RunResults>& runs, std::size_t baseline);

}  // namespace qx
