// SPDX-License-Identifier: Apache-2.0
#include "compare/comparison.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"

namespace qx {
namespace {

double to_double(std::int64_t x) {
  return static_cast<double>(x);
}

// The items of one task that every run answered, run by run, in the same order.
struct CommonItems {
  std::vector<std::vector<const ItemResult*>> by_run;
  std::int64_t left_out = 0;  // items that at least one run lacks
};

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
      common.by_run[r].push_back(items[r]);
    }
  }
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
  const double share = to_double(most->second) / to_double(score.n);
  if (most->second == score.n) {
    flags.push_back({FlagKind::kConstantAnswer,
                     fmt::format("answers choice {} for all {} items", most->first, score.n)});
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

TaskSummary summarize_task(const std::string& name, const std::string& metric,
                           const CommonItems& common) {
  TaskSummary task;
  task.task = name;
  task.metric = metric;
  task.n = static_cast<std::int64_t>(common.by_run[0].size());
  std::map<int, std::int64_t> gold;
  for (const ItemResult* item : common.by_run[0]) {
    ++gold[item->gold];
    if (item->choices > 1) task.chance += 1.0 / item->choices / to_double(task.n);
  }
  for (const auto& [index, count] : gold) {
    if (task.chance == 0) break;
    task.majority_share = std::max(task.majority_share, to_double(count) / to_double(task.n));
  }
  for (const auto& items : common.by_run) {
    Score score;
    score.n = task.n;
    score.right =
        std::count_if(items.begin(), items.end(), [](const ItemResult* i) { return i->right; });
    score.accuracy = to_double(score.right) / to_double(score.n);
    score.stderr_ = accuracy_stderr(score.right, score.n);
    score.interval = wilson_interval(score.right, score.n, kConfidence);
    score.flags = find_flags(score, task, items);
    task.informative = task.informative && !no_information(score.flags);
    task.scores.push_back(std::move(score));
  }
  return task;
}

PairedCounts count_pairs(const std::vector<const ItemResult*>& baseline,
                         const std::vector<const ItemResult*>& variant) {
  PairedCounts counts;
  for (std::size_t i = 0; i < baseline.size(); ++i) {
    const bool was = baseline[i]->right, is = variant[i]->right;
    ++(was ? (is ? counts.both_right : counts.right_to_wrong)
           : (is ? counts.wrong_to_right : counts.both_wrong));
  }
  return counts;
}

// Other wrong answers than the baseline's: accuracy cannot see these.
std::int64_t count_changed(const std::vector<const ItemResult*>& baseline,
                           const std::vector<const ItemResult*>& variant) {
  std::int64_t changed = 0;
  for (std::size_t i = 0; i < baseline.size(); ++i) {
    const bool both_wrong = !baseline[i]->right && !variant[i]->right;
    changed += both_wrong && baseline[i]->chosen != variant[i]->chosen ? 1 : 0;
  }
  return changed;
}

// Mean of the differences of the informative tasks; tasks are independent samples, so variances
// add.
std::optional<AverageDifference> average_difference(const std::vector<TaskSummary>& tasks,
                                                    const std::vector<Difference>& differences) {
  double sum = 0, variance = 0;
  int count = 0;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    if (!tasks[t].informative || tasks[t].n < 2) continue;
    const double se = paired_difference_stderr(differences[t].counts);
    sum += differences[t].difference;
    variance += se * se;
    ++count;
  }
  if (count == 0) return std::nullopt;
  AverageDifference average;
  average.difference = sum / count;
  average.stderr_ = std::sqrt(variance) / count;
  constexpr double kZ = 1.959963984540054;  // 97.5 % point of the standard normal
  average.interval = {average.difference - kZ * average.stderr_,
                      average.difference + kZ * average.stderr_};
  average.p = average.stderr_ > 0 ? two_sided_normal_p(average.difference / average.stderr_) : 1.0;
  average.verdict = decide_verdict(average.p, average.difference);
  return average;
}

PairSummary summarize_pair(std::size_t baseline, std::size_t variant,
                           const std::vector<TaskSummary>& tasks,
                           const std::vector<CommonItems>& items) {
  PairSummary pair{baseline, variant, {}, std::nullopt};
  std::vector<double> p_values;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    Difference d;
    d.counts = count_pairs(items[t].by_run[baseline], items[t].by_run[variant]);
    d.changed = count_changed(items[t].by_run[baseline], items[t].by_run[variant]);
    d.difference =
        to_double(d.counts.wrong_to_right - d.counts.right_to_wrong) / to_double(d.counts.n());
    const double reference = tasks[t].scores[baseline].accuracy;
    if (reference > 0) d.relative = d.difference / reference;
    d.interval = newcombe_paired_interval(d.counts, kConfidence);
    d.p = mcnemar_exact(d.counts);
    d.detectable = minimum_detectable_difference(d.counts, kAlpha, kPower);
    p_values.push_back(d.p);
    pair.tasks.push_back(d);
  }
  const std::vector<double> adjusted = holm_adjust(p_values);
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    pair.tasks[t].p_holm = adjusted[t];
    pair.tasks[t].verdict = decide_verdict(adjusted[t], pair.tasks[t].difference);
  }
  pair.average = average_difference(tasks, pair.tasks);
  return pair;
}

void add_averages(Comparison& comparison) {
  for (std::size_t r = 0; r < comparison.runs.size(); ++r) {
    double sum = 0, variance = 0;
    int count = 0;
    for (const TaskSummary& task : comparison.tasks) {
      if (!task.informative || task.n < 2) continue;
      sum += task.scores[r].accuracy;
      variance += task.scores[r].stderr_ * task.scores[r].stderr_;
      ++count;
    }
    if (count == 0) continue;
    comparison.runs[r].average = sum / count;
    comparison.runs[r].average_stderr = std::sqrt(variance) / count;
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

void check_runs(const std::vector<RunResults>& runs, std::size_t baseline) {
  if (runs.size() < 2) throw UsageError("got one run, expected at least two to compare");
  QX_CHECK(baseline < runs.size());
  std::set<std::string> names;
  for (const RunResults& run : runs) {
    if (!names.insert(run.name).second) {
      throw UsageError(fmt::format("two runs are called '{}', expected different names", run.name));
    }
  }
}

}  // namespace

Verdict decide_verdict(double p, double difference) {
  if (!(p < kAlpha)) return Verdict::kIndistinguishable;
  return difference > 0 ? Verdict::kBetter : Verdict::kWorse;
}

std::string verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kBetter:
      return "better";
    case Verdict::kWorse:
      return "worse";
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

Comparison compare_runs(const std::vector<RunResults>& runs, std::size_t baseline) {
  check_runs(runs, baseline);
  Comparison comparison;
  comparison.baseline = baseline;
  for (const RunResults& run : runs) {
    comparison.runs.push_back({run.name, run.tensor_bytes, run.bits_per_weight, {}, {}});
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

  for (std::size_t v = 0; v < runs.size(); ++v) {
    if (v == baseline) continue;
    comparison.against_baseline.push_back(summarize_pair(baseline, v, comparison.tasks, items));
    for (std::size_t w = v + 1; w < runs.size(); ++w) {
      if (w == baseline) continue;
      comparison.between_variants.push_back(summarize_pair(v, w, comparison.tasks, items));
    }
  }
  add_averages(comparison);
  return comparison;
}

}  // namespace qx
