// SPDX-License-Identifier: Apache-2.0
#include "compare/comparison.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "compare/differences.h"
#include "stats/clusters.h"

namespace qx {
namespace {

double real_of(std::int64_t x) {
  return static_cast<double>(x);
}

CommonItems find_common_items(const std::vector<RunResults>& runs, const std::string& task) {
  CommonItems common;
  common.by_run.resize(runs.size());
  std::map<std::int64_t, std::vector<const ItemResult*>> by_index;
  for (const RunResults& run : runs) {
    for (const ItemResult& item : run.tasks.at(task).items) by_index[item.index].push_back(&item);
  }
  for (const auto& [index, items] : by_index) {
    if (items.size() != runs.size()) {
      ++common.left_out;
      continue;
    }
    for (std::size_t r = 0; r < items.size(); ++r) {
      if (items[r]->doc_hash != items[0]->doc_hash) {
        fail(fmt::format("{} item {}", task, index),
             "{} and {} answered different questions (doc_hash {} and {}), expected runs over the "
             "same "
             "data file",
             runs[0].name, runs[r].name, items[0]->doc_hash, items[r]->doc_hash);
      }
      if (items[r]->gold != items[0]->gold || items[r]->choices != items[0]->choices) {
        fail(fmt::format("{} item {}", task, index),
             "{} chose among {} answers of which {} is the right one, and {} among {} of which {} "
             "is; expected runs over the same data file",
             runs[0].name, items[0]->choices, items[0]->gold, runs[r].name, items[r]->choices,
             items[r]->gold);
      }
      common.by_run[r].push_back(items[r]);
    }
  }
  if (!common.by_run[0].empty()) common.passages = number_passages(common);
  return common;
}

std::vector<Flag> find_flags(const Score& score, const TaskSummary& task,
                             const std::vector<const ItemResult*>& items) {
  std::vector<Flag> flags;
  if (task.chance == 0) return flags;  // cloze questions: there is no choice to prefer or to guess
  std::map<int, std::int64_t> chosen;
  for (const ItemResult* item : items) ++chosen[item->chosen];
  const auto most =
      std::max_element(chosen.begin(), chosen.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  const double share = real_of(most->second) / real_of(score.n);
  if (most->second == score.n) {
    flags.push_back(
        {FlagKind::kConstantAnswer,
         score.n == 1 ? fmt::format("answers choice {} for its one item", most->first)
                      : fmt::format("answers choice {} for all {} items", most->first, score.n)});
  } else if (share >= kOneAnswerShare) {
    flags.push_back(
        {FlagKind::kOneAnswerIndex,
         fmt::format("answers choice {} for {:.1f} % of the items", most->first, share * 100)});
  }
  const auto near = [&](double value) {
    return std::fabs(score.accuracy - value) <= score.stderr_;
  };
  if (near(task.majority_share)) {
    flags.push_back(
        {FlagKind::kNearMajorityShare,
         fmt::format("accuracy {:.3f} is within its standard error of always giving the "
                     "commonest answer ({:.3f})",
                     score.accuracy, task.majority_share)});
  }
  if (near(task.chance)) {
    flags.push_back(
        {FlagKind::kNearChance,
         fmt::format("accuracy {:.3f} is within its standard error of guessing ({:.3f})",
                     score.accuracy, task.chance)});
  }
  return flags;
}

double clustered_stderr(const std::vector<const ItemResult*>& items,
                        const std::vector<std::int64_t>& passages) {
  std::vector<double> right;
  for (const ItemResult* item : items) right.push_back(item->right ? 1 : 0);
  return clustered_mean_error(right, passages).stderr_;
}

TaskSummary summarize_task(const std::string& name, const std::string& metric,
                           const CommonItems& common) {
  TaskSummary task;
  task.task = name;
  task.metric = metric;
  task.n = static_cast<std::int64_t>(common.by_run[0].size());
  std::map<int, std::int64_t> gold;
  for (const ItemResult* item : common.by_run[0]) {
    ++gold[item->gold];
    if (item->choices > 1) task.chance += 1.0 / item->choices / real_of(task.n);
  }
  for (const auto& [index, count] : gold) {
    if (task.chance == 0) break;
    task.majority_share = std::max(task.majority_share, real_of(count) / real_of(task.n));
  }
  for (const auto& items : common.by_run) {
    Score score;
    score.n = task.n;
    score.right =
        std::count_if(items.begin(), items.end(), [](const ItemResult* i) { return i->right; });
    score.accuracy = real_of(score.right) / real_of(score.n);
    score.stderr_ = accuracy_stderr(score.right, score.n);
    score.interval = wilson_interval(score.right, score.n, kConfidence);
    if (!common.passages.empty()) score.clustered_stderr = clustered_stderr(items, common.passages);
    score.flags = find_flags(score, task, items);
    task.informative = task.informative && !no_information(score.flags);
    task.scores.push_back(std::move(score));
  }
  return task;
}

bool is_averaged(const TaskSummary& task) {
  return task.informative && task.n >= 2;
}

void add_averages(PairSummary& pair, const std::vector<TaskSummary>& tasks,
                  const std::vector<TaskPair>& pairs, double margin) {
  std::vector<TaskDifference> parts;
  std::vector<const Difference*> differences;
  double n = 0;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    if (!is_averaged(tasks[t])) continue;
    const Difference& d = pair.tasks[t];
    parts.push_back({d.counts, 1, d.design_effect, pairs[t].sums});
    differences.push_back(&d);
    n += real_of(tasks[t].n);
  }
  if (parts.empty()) return;
  for (TaskDifference& part : parts) part.weight = 1 / static_cast<double>(parts.size());
  pair.average = average_pair(parts, differences, margin);
  for (TaskDifference& part : parts) part.weight = real_of(part.counts.n()) / n;
  pair.micro = average_pair(parts, differences, margin);
}

PairSummary summarize_pair(std::size_t baseline, std::size_t variant,
                           const std::vector<TaskSummary>& tasks,
                           const std::vector<CommonItems>& items, double margin) {
  PairSummary pair{baseline, variant, {}, {}, {}};
  std::vector<TaskPair> pairs;
  std::vector<double> p_values, p_equivalences;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    pairs.push_back(
        compare_task(items[t], baseline, variant, tasks[t].scores[baseline].accuracy, margin));
    const Difference& d = pairs.back().difference;
    p_values.push_back(d.p);
    p_equivalences.push_back(d.p_equivalence);
  }
  const std::vector<double> adjusted = holm_adjust(p_values);
  const std::vector<double> equivalences = holm_adjust(p_equivalences);
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    Difference d = pairs[t].difference;
    d.p_holm = adjusted[t];
    d.p_equivalence_holm = equivalences[t];
    // Two runs that always say "yes" agree on everything, and that says nothing about what they
    // know.
    const bool informative = !no_information(tasks[t].scores[baseline].flags) &&
                             !no_information(tasks[t].scores[variant].flags);
    d.within_margin = informative && d.p_equivalence_holm < kAlpha;
    d.verdict = decide_verdict(d.p_holm, d.difference, informative ? d.p_equivalence_holm : 1);
    if (d.verdict == Verdict::kIndistinguishable)
      d.items_needed = more_items(d, margin, tasks.size());
    pair.tasks.push_back(d);
  }
  add_averages(pair, tasks, pairs, margin);
  return pair;
}

// Holm over the pairs, for one kind of average, and the verdicts that follow from it.
void decide_averages(Comparison& c, std::optional<AverageDifference> PairSummary::*kind) {
  std::vector<AverageDifference*> averages;
  for (auto* list : {&c.against_baseline, &c.between_variants}) {
    for (PairSummary& pair : *list) {
      if (pair.*kind) averages.push_back(&*(pair.*kind));
    }
  }
  std::vector<double> p_values, p_equivalences;
  for (const AverageDifference* a : averages) {
    p_values.push_back(a->p);
    p_equivalences.push_back(a->p_equivalence);
  }
  const std::vector<double> adjusted = holm_adjust(p_values);
  const std::vector<double> equivalences = holm_adjust(p_equivalences);
  for (std::size_t i = 0; i < averages.size(); ++i) {
    AverageDifference& a = *averages[i];
    a.p_holm = adjusted[i];
    a.p_equivalence_holm = equivalences[i];
    a.within_margin = a.p_equivalence_holm < kAlpha;
    a.verdict = decide_verdict(a.p_holm, a.difference, a.p_equivalence_holm);
    if (a.verdict == Verdict::kIndistinguishable) {
      a.items_needed = more_items(a, c.margin, averages.size());
    }
  }
}

// Resampling costs rounds times items, so long tasks get fewer rounds: of many items the mean is
// close to normal, and fewer show its interval.
void add_margin_shifts(PairSummary& pair, const std::vector<CommonItems>& items,
                       std::int64_t rounds) {
  if (rounds == 0) return;
  for (std::size_t t = 0; t < items.size(); ++t) {
    const auto n = static_cast<std::int64_t>(items[t].by_run[0].size());
    const std::int64_t affordable = std::max<std::int64_t>(200, 20'000'000 / n);
    pair.tasks[t].margin_shift =
        margin_shift(items[t], pair.baseline, pair.variant, std::min(rounds, affordable));
  }
}

void add_run_averages(Comparison& comparison) {
  for (std::size_t r = 0; r < comparison.runs.size(); ++r) {
    std::vector<TaskMean> means;
    for (const TaskSummary& task : comparison.tasks) {
      if (!is_averaged(task)) continue;
      const Score& score = task.scores[r];
      means.push_back({score.accuracy, score.clustered_stderr.value_or(score.stderr_), task.n});
    }
    if (means.empty()) continue;
    const MeanError macro = macro_average(means), micro = micro_average(means);
    comparison.runs[r].average = macro.mean;
    comparison.runs[r].average_stderr = macro.stderr_;
    comparison.runs[r].micro = micro.mean;
    comparison.runs[r].micro_stderr = micro.stderr_;
  }
}

std::vector<std::string> common_tasks(const std::vector<RunResults>& runs,
                                      std::vector<std::string>& notes) {
  std::set<std::string> all;
  for (const RunResults& run : runs) {
    for (const auto& [task, results] : run.tasks) all.insert(task);
  }
  std::vector<std::string> common;
  for (const std::string& task : all) {
    std::string missing;
    for (const RunResults& run : runs) {
      if (!run.tasks.contains(task)) missing += (missing.empty() ? "" : ", ") + run.name;
    }
    if (missing.empty()) {
      common.push_back(task);
    } else {
      notes.push_back(fmt::format("{} is left out: {} did not run it", task, missing));
    }
  }
  return common;
}

void check_runs(const std::vector<RunResults>& runs, const CompareSettings& settings) {
  if (runs.size() < 2) throw UsageError("got one run, expected at least two to compare");
  if (!(settings.margin > 0 && settings.margin < 1)) {
    throw UsageError(
        fmt::format("--margin: got {}, expected a difference of accuracies above 0 and below 1 "
                    "(0.01 is one point)",
                    settings.margin));
  }
  QX_CHECK(settings.baseline < runs.size() && settings.margin_rounds >= 0);
  std::set<std::string> names;
  for (const RunResults& run : runs) {
    if (!names.insert(run.name).second) {
      throw UsageError(fmt::format("two runs are called '{}', expected different names", run.name));
    }
  }
}

}  // namespace

Verdict decide_verdict(double p, double difference, double p_equivalence) {
  if (p < kAlpha) return difference > 0 ? Verdict::kBetter : Verdict::kWorse;
  return p_equivalence < kAlpha ? Verdict::kEquivalent : Verdict::kIndistinguishable;
}

Verdict reversed(Verdict verdict) {
  if (verdict == Verdict::kBetter) return Verdict::kWorse;
  return verdict == Verdict::kWorse ? Verdict::kBetter : verdict;
}

std::string verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kBetter:
      return "better";
    case Verdict::kWorse:
      return "worse";
    case Verdict::kEquivalent:
      return "equivalent";
    case Verdict::kIndistinguishable:
      return "indistinguishable";
  }
  return "";
}

std::string flag_name(FlagKind kind) {
  switch (kind) {
    case FlagKind::kConstantAnswer:
      return "constant_answer";
    case FlagKind::kOneAnswerIndex:
      return "one_answer_index";
    case FlagKind::kNearMajorityShare:
      return "near_majority_share";
    case FlagKind::kNearChance:
      return "near_chance";
  }
  return "";
}

bool no_information(const std::vector<Flag>& flags) {
  return std::any_of(flags.begin(), flags.end(), [](const Flag& f) {
    return f.kind == FlagKind::kConstantAnswer || f.kind == FlagKind::kOneAnswerIndex;
  });
}

Comparison compare_runs(const std::vector<RunResults>& runs, const CompareSettings& settings) {
  check_runs(runs, settings);
  const std::size_t baseline = settings.baseline;
  Comparison comparison;
  comparison.baseline = baseline;
  comparison.margin = settings.margin;
  for (const RunResults& run : runs) {
    comparison.runs.push_back({run.name,
                               run.tensor_bytes,
                               run.bits_per_weight,
                               {},
                               {},
                               {},
                               {},
                               run.folder,
                               run.model_path,
                               run.speed,
                               run.distance});
  }
  std::vector<CommonItems> items;
  for (const std::string& task : common_tasks(runs, comparison.notes)) {
    const std::string& metric = runs[0].tasks.at(task).metric;
    for (const RunResults& run : runs) QX_CHECK(run.tasks.at(task).metric == metric);
    CommonItems common = find_common_items(runs, task);
    if (common.by_run[0].empty()) {
      fail(task, "the runs have no item in common, expected runs over the same items");
    }
    if (common.left_out > 0) {
      comparison.notes.push_back(fmt::format(
          "{}: {} items are left out because not every run has them", task, common.left_out));
    }
    comparison.tasks.push_back(summarize_task(task, metric, common));
    items.push_back(std::move(common));
  }
  if (comparison.tasks.empty())
    fail("compare", "the runs have no task in common, expected at least one");

  const auto pair = [&](std::size_t a, std::size_t b) {
    return summarize_pair(a, b, comparison.tasks, items, settings.margin);
  };
  for (std::size_t v = 0; v < runs.size(); ++v) {
    if (v == baseline) continue;
    comparison.against_baseline.push_back(pair(baseline, v));
    add_margin_shifts(comparison.against_baseline.back(), items, settings.margin_rounds);
    for (std::size_t w = v + 1; w < runs.size(); ++w) {
      if (w != baseline) comparison.between_variants.push_back(pair(v, w));
    }
  }
  decide_averages(comparison, &PairSummary::average);
  decide_averages(comparison, &PairSummary::micro);
  add_run_averages(comparison);
  return comparison;
}

const PairSummary& pair_of(const Comparison& c, std::size_t a, std::size_t b) {
  for (const auto* list : {&c.against_baseline, &c.between_variants}) {
    for (const PairSummary& p : *list) {
      if ((p.baseline == a && p.variant == b) || (p.baseline == b && p.variant == a)) return p;
    }
  }
  throw InternalError("no such pair of runs");
}

}  // namespace qx
