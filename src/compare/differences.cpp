// SPDX-License-Identifier: Apache-2.0
#include "compare/differences.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "base/error.h"
#include "stats/clusters.h"
#include "stats/equivalence.h"
#include "stats/resampling.h"

namespace qx {
namespace {

constexpr double kZ95 = 1.959963984540054;  // 97.5 % point of the standard normal

double to_double(std::int64_t x) {
  return static_cast<double>(x);
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

Interval widened(const Interval& interval, double middle, double design_effect) {
  const double factor = std::sqrt(design_effect);
  return {std::max(-1.0, middle - factor * (middle - interval.low)),
          std::min(1.0, middle + factor * (interval.high - middle))};
}

// Error and tests that know which items share a passage.
void apply_passages(TaskPair& pair, const CommonItems& items, std::size_t baseline,
                    std::size_t variant) {
  Difference& d = pair.difference;
  std::vector<double> values;
  std::map<std::int64_t, std::int64_t> sums;
  for (std::size_t i = 0; i < items.passages.size(); ++i) {
    const int value = static_cast<int>(items.by_run[variant][i]->right) -
                      static_cast<int>(items.by_run[baseline][i]->right);
    values.push_back(value);
    sums[items.passages[i]] += value;
  }
  for (const auto& [passage, sum] : sums) pair.sums.push_back(sum);
  d.clusters = static_cast<std::int64_t>(sums.size());
  const double by_item = d.stderr_;
  d.stderr_ = clustered_mean_error(values, items.passages).stderr_;
  if (sums.size() < 2) {
    d.design_effect = to_double(d.counts.n());  // as bad as it can be: one answer decides all
  } else if (by_item > 0) {
    d.design_effect = std::max(1.0, d.stderr_ * d.stderr_ / (by_item * by_item));
  }
  const ClusteredTest test = clustered_mcnemar(pair.sums);
  d.p = test.p;
  d.p_mid = test.mid_p;
  d.interval = widened(d.interval, d.difference, d.design_effect);
  d.detectable *= std::sqrt(d.design_effect);
}

// More items, of `n` there are, when `needed` in all would do. Counts that no run could reach are unknown.
std::optional<std::int64_t> beyond(double needed, std::int64_t n) {
  if (!(needed < 1e12)) return std::nullopt;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(needed)) - n);
}

double smaller_number(double a, double b) {
  return std::isnan(a) ? b : std::isnan(b) ? a : std::min(a, b);
}

}  // namespace

std::vector<std::int64_t> number_passages(const CommonItems& items) {
  std::vector<std::int64_t> numbers;
  std::map<std::string, std::int64_t> known;
  bool shared = false;
  for (std::size_t i = 0; i < items.by_run[0].size(); ++i) {
    const std::string* name = nullptr;
    for (const auto& run : items.by_run) {
      if (name == nullptr && !run[i]->cluster.empty()) name = &run[i]->cluster;
    }
    const auto own = -1 - static_cast<std::int64_t>(i);
    if (name == nullptr) {
      numbers.push_back(own);
      continue;
    }
    const auto [entry, added] = known.emplace(*name, static_cast<std::int64_t>(known.size()));
    shared = shared || !added;
    numbers.push_back(entry->second);
  }
  if (!shared) numbers.clear();
  return numbers;
}

std::int64_t count_passages(const CommonItems& items) {
  return static_cast<std::int64_t>(
      std::set<std::int64_t>(items.passages.begin(), items.passages.end()).size());
}

TaskPair compare_task(const CommonItems& items, std::size_t baseline, std::size_t variant,
                      double baseline_accuracy, double margin) {
  TaskPair pair;
  Difference& d = pair.difference;
  d.counts = count_pairs(items.by_run[baseline], items.by_run[variant]);
  d.changed = count_changed(items.by_run[baseline], items.by_run[variant]);
  d.difference =
      to_double(d.counts.wrong_to_right - d.counts.right_to_wrong) / to_double(d.counts.n());
  if (baseline_accuracy > 0) d.relative = d.difference / baseline_accuracy;
  d.interval = newcombe_paired_interval(d.counts, kConfidence);
  d.p = mcnemar_exact(d.counts);
  d.p_mid = mcnemar_mid_p(d.counts);
  d.detectable = minimum_detectable_difference(d.counts, kAlpha, kPower);
  d.stderr_ = paired_difference_stderr(d.counts);
  if (!items.passages.empty()) apply_passages(pair, items, baseline, variant);
  d.score_interval = tango_interval(d.counts, kConfidence, d.design_effect);
  d.p_equivalence = equivalence_p(d.counts, margin, d.design_effect);
  return pair;
}

std::optional<MarginShift> margin_shift(const CommonItems& items, std::size_t baseline,
                                        std::size_t variant, std::int64_t rounds) {
  std::vector<double> moves;
  std::vector<std::int64_t> passages;
  for (std::size_t i = 0; i < items.by_run[baseline].size(); ++i) {
    const double move = items.by_run[variant][i]->margin - items.by_run[baseline][i]->margin;
    if (!std::isfinite(move)) continue;
    moves.push_back(move);
    if (!items.passages.empty()) passages.push_back(items.passages[i]);
  }
  if (moves.empty()) return std::nullopt;
  MarginShift shift;
  shift.n = static_cast<std::int64_t>(moves.size());
  shift.mean = mean_error(moves).mean;
  if (std::all_of(moves.begin(), moves.end(), [](double x) { return x == 0; })) return shift;
  const Resampling how{rounds, 1};
  if (passages.empty()) {
    shift.interval = bootstrap_mean_interval(moves, kConfidence, how);
    shift.p = sign_flip_p(moves, how);
    return shift;
  }
  // By passage: the mean is a ratio of sums over passages; its residues are resampled.
  std::map<std::int64_t, std::pair<double, double>> sums;
  for (std::size_t i = 0; i < moves.size(); ++i) {
    auto& [sum, residue] = sums[passages[i]];
    sum += moves[i];
    residue += moves[i] - shift.mean;
  }
  const double scale = static_cast<double>(sums.size()) / static_cast<double>(moves.size());
  std::vector<double> totals, residues;
  for (const auto& [passage, sum] : sums) {
    totals.push_back(sum.first);
    residues.push_back(sum.second * scale);
  }
  const Interval around = bootstrap_mean_interval(residues, kConfidence, how);
  shift.interval = {shift.mean + around.low, shift.mean + around.high};
  shift.p = sign_flip_p(totals, how);
  return shift;
}

std::optional<std::int64_t> more_items(const Difference& d, double margin, std::size_t family) {
  const std::int64_t n = d.counts.n();
  const double level = kAlpha / static_cast<double>(family);
  // With few items the share that changed is known badly; half an item more of each kind keeps it off 0.
  const double changed =
      to_double(d.counts.right_to_wrong + d.counts.wrong_to_right + 1) / to_double(n + 2);
  const double discordance = std::max(changed, std::fabs(d.difference));
  const double needed =
      smaller_number(items_needed(d.difference, discordance, level, kPower),
                     items_for_equivalence(d.difference, discordance, margin, level, kPower));
  return beyond(needed * d.design_effect, n);
}

AverageDifference average_pair(std::span<const TaskDifference> tasks,
                               std::span<const Difference* const> differences, double margin) {
  AverageDifference average;
  double variance = 0;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const double part = tasks[t].weight * differences[t]->stderr_;
    variance += part * part;
    average.n += tasks[t].counts.n();
  }
  average.tasks = static_cast<std::int64_t>(tasks.size());
  average.difference = average_difference(tasks);
  average.stderr_ = std::sqrt(variance);
  average.interval = average_difference_interval(tasks, kConfidence);
  average.p = average_difference_p(tasks);
  average.p_equivalence = average_equivalence_p(tasks, margin);
  return average;
}

std::optional<std::int64_t> more_items(const AverageDifference& average, double margin,
                                       std::size_t family) {
  // The interval's half width stands for the error: it is not 0 where nothing changed yet.
  const double error = std::max(average.interval.high - average.difference,
                                average.difference - average.interval.low) /
                       kZ95;
  const double level = kAlpha / static_cast<double>(family), d = std::fabs(average.difference);
  const double variance = error * error * to_double(average.n);
  double needed = std::numeric_limits<double>::quiet_NaN();
  if (d > 0) {
    const double z = normal_point(1 - level / 2) + normal_point(kPower);
    needed = z * z * variance / (d * d);
  }
  if (d < margin) {
    const double precision = equivalence_precision(d, margin, level, kPower);
    needed = smaller_number(needed, precision * precision * variance);
  }
  return beyond(needed, average.n);
}

}  // namespace qx
