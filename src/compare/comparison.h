// Compares evaluation runs item by item: scores with errors, paired differences to a baseline and
// between the variants, degenerate tasks, verdicts. Pure computation over answers that are already
// in memory; prose is made from its result by words.h, tables and JSON by render.h. Formulas and
// their sources: src/stats, docs/statistics.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runs/measurements.h"
#include "stats/stats.h"

namespace qx {

// One item as one run answered it, under the metric that is compared.
struct ItemResult {
  std::int64_t index = 0;  // row in the data file
  std::string doc_hash;
  int gold = 0, chosen = 0, choices = 0;
  bool right = false;
  double margin = 0;         // gold_margin (runs/choice_metric.h)
  std::string cluster = {};  // items with the same one share a passage; "": an item of its own
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
  std::filesystem::path folder = {};      // RUNS/NAME; empty when not read from one
  std::filesystem::path model_path = {};  // as run.json says; empty when it does not
  std::optional<SpeedFacts> speed = {};   // measured of its model; nothing where it was not
  std::optional<DistanceFacts> distance = {};
};

// kBetter, kWorse: a difference is shown. kEquivalent: none is shown, and it is shown to be smaller
// than the margin. kIndistinguishable: the data show neither.
enum class Verdict { kBetter, kWorse, kEquivalent, kIndistinguishable };
std::string verdict_name(Verdict verdict);  // "better", "worse", "equivalent", "indistinguishable"
// difference: of the variant to the baseline. p: of no difference, p_equivalence: of a difference
// as large as the margin; both adjusted; a NaN decides nothing.
Verdict decide_verdict(double p, double difference, double p_equivalence = 1);
// The same verdict as seen from the other run of the pair.
Verdict reversed(Verdict verdict);

struct CompareSettings {
  std::size_t baseline = 0;           // position among the runs
  double margin = 0.01;               // of equivalence, in accuracy; 0 < margin < 1
  std::int64_t margin_rounds = 2000;  // of resampling gold margins (MarginShift); 0: not done
};

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
  std::optional<double> clustered_stderr = {};  // where items share passages; NaN with one passage
};

// How the gold margins (ItemResult::margin) moved from the baseline to the variant: evidence beside
// the verdict, which never rests on it. Over the items where both are finite.
struct MarginShift {
  std::int64_t n = 0;
  double mean = 0;    // in the metric's unit
  Interval interval;  // percentile bootstrap, 95 %; by passage where items share one
  double p = 1;       // sign flips; not adjusted
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

  double p_mid = 1;    // mid-p McNemar, not adjusted; for information
  double stderr_ = 0;  // paired; by passage where items share one; NaN when n < 2
  // Number of passages; 0: every item is its own. Where items share passages, p is the exact test
  // that exchanges the variants' answers passage by passage (stats/clusters.h).
  std::int64_t clusters = 0;
  double design_effect = 1;  // >= 1: variance by passage over that by item; the intervals know it
  Interval score_interval;   // Tango, 95 %
  double p_equivalence = 1;  // two one-sided tests (Tango's score test) against the margin
  double p_equivalence_holm = 1;  // Holm over the tasks of this pair
  // Shown to lie within the margin, whatever the verdict; never for a task without information
  // about one of both.
  bool within_margin = false;
  // Of an indistinguishable one: how many more items of the same kind would show this difference,
  // or that it lies within the margin (the fewer), at 80 % power and Holm's strictest level.
  std::optional<std::int64_t> items_needed;
  std::optional<MarginShift> margin_shift;  // against the baseline only
};

struct TaskSummary {
  std::string task, metric;
  std::int64_t n = 0;
  double majority_share = 0;  // of the commonest gold index
  double chance = 0;          // mean over items of 1 / choices
  bool informative = true;    // false: some variant's flags say "no information"
  std::vector<Score> scores;  // one per run, in the order of Comparison::runs
};

// Over the informative tasks of at least two items.
struct AverageDifference {
  double difference = 0, stderr_ = 0;  // paired; by passage where items share one
  Interval interval;                   // MOVER of the tasks' score intervals, 95 %
  double p = 1, p_holm = 1;            // Holm over the averages of all pairs of the comparison
  double p_equivalence = 1, p_equivalence_holm = 1;  // against the margin; Holm likewise
  bool within_margin = false;
  Verdict verdict = Verdict::kIndistinguishable;
  std::int64_t tasks = 0, n = 0;  // averaged over; items of all of them
  // As Difference's: more items in all, every task growing alike.
  std::optional<std::int64_t> items_needed;
};

// Everything about variant `variant` against run `baseline` (positions in Comparison::runs).
struct PairSummary {
  std::size_t baseline = 0, variant = 0;
  std::vector<Difference> tasks;  // in the order of Comparison::tasks
  std::optional<AverageDifference>
      average;                             // macro: every task weighs the same; what prose is about
  std::optional<AverageDifference> micro;  // every item weighs the same; for information
};

struct RunInfo {
  std::string name;
  std::optional<std::int64_t> tensor_bytes;
  std::optional<double> bits_per_weight;
  std::optional<double> average, average_stderr;  // macro, over the informative tasks
  std::optional<double> micro, micro_stderr;      // micro, over the same
  std::filesystem::path folder, model_path;       // these as RunResults
  std::optional<SpeedFacts> speed;
  std::optional<DistanceFacts> distance;
};

struct Comparison {
  std::vector<RunInfo> runs;
  std::size_t baseline = 0;
  double margin = 0.01;
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
// Fails: Error when a common item differs between runs (another question, gold answer or number of
// choices under one index), when a task has no common item, or when no common task is left.
// UsageError for fewer than two runs or two of one name, or a margin outside (0, 1).
Comparison compare_runs(const std::vector<RunResults>& runs, const CompareSettings& settings);

// The pair of two runs, whichever is its baseline. a != b.
const PairSummary& pair_of(const Comparison& comparison, std::size_t a, std::size_t b);

}  // namespace qx
