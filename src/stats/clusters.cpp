// SPDX-License-Identifier: Apache-2.0
#include "stats/clusters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "stats/stats.h"

namespace qx {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

double mean_of(std::span<const double> values) {
  if (values.empty()) return kUndefined;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

MeanError mean_error(std::span<const double> values) {
  MeanError result{mean_of(values), kUndefined};
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double x : values) squares += (x - result.mean) * (x - result.mean);
  const auto n = static_cast<double>(values.size());
  result.stderr_ = std::sqrt(squares / (n - 1) / n);
  return result;
}

MeanError clustered_mean_error(std::span<const double> values,
                               std::span<const std::int64_t> cluster) {
  QX_CHECK(values.size() == cluster.size());
  MeanError result{mean_of(values), kUndefined};
  std::map<std::int64_t, double> residues;
  for (std::size_t i = 0; i < values.size(); ++i) residues[cluster[i]] += values[i] - result.mean;
  if (residues.size() < 2) return result;
  double squares = 0;
  for (const auto& [name, residue] : residues) squares += residue * residue;
  const auto groups = static_cast<double>(residues.size());
  result.stderr_ = std::sqrt(groups / (groups - 1) * squares) / static_cast<double>(values.size());
  return result;
}

ClusteredTest clustered_mcnemar(std::span<const std::int64_t> sums) {
  // The distribution of sum s_g |x_g| over random signs s_g, on the integers -total .. total:
  // passages are added one by one. Those whose outcomes cancel out, or without a changed item, add
  // nothing.
  std::int64_t total = 0, observed = 0, changed = 0;
  double squares = 0;
  for (const std::int64_t x : sums) {
    total += x < 0 ? -x : x;
    observed += x;
    changed += x != 0 ? 1 : 0;
    squares += static_cast<double>(x * x);
  }
  if (total == 0) return {};
  constexpr std::int64_t kMostSteps = 200'000'000;
  if (changed > kMostSteps / total) {
    const double p = two_sided_normal_p(static_cast<double>(observed) / std::sqrt(squares));
    return {p, p};
  }
  std::vector<double> mass(static_cast<std::size_t>(2 * total + 1), 0.0), next;
  const auto at = [&](std::int64_t sum) { return static_cast<std::size_t>(sum + total); };
  mass[at(0)] = 1;
  std::int64_t reach = 0;
  for (const std::int64_t x : sums) {
    const std::int64_t step = x < 0 ? -x : x;
    if (step == 0) continue;
    next.assign(mass.size(), 0.0);
    for (std::int64_t sum = -reach; sum <= reach; ++sum) {
      const double half = mass[at(sum)] / 2;
      next[at(sum - step)] += half;
      next[at(sum + step)] += half;
    }
    mass.swap(next);
    reach += step;
  }
  const std::int64_t extreme = observed < 0 ? -observed : observed;
  if (extreme == 0) return {};
  double tail = 0;
  for (std::int64_t sum = total; sum > extreme; --sum) tail += mass[at(sum)];
  const double equal = mass[at(extreme)];
  return {std::min(1.0, 2 * (tail + equal)), std::min(1.0, 2 * tail + equal)};
}

MeanError macro_average(std::span<const TaskMean> tasks) {
  if (tasks.empty()) return {kUndefined, kUndefined};
  const auto k = static_cast<double>(tasks.size());
  double sum = 0, variance = 0;
  for (const TaskMean& task : tasks) {
    sum += task.mean;
    variance += task.stderr_ * task.stderr_;
  }
  return {sum / k, std::sqrt(variance) / k};
}

MeanError micro_average(std::span<const TaskMean> tasks) {
  double items = 0, sum = 0, variance = 0;
  for (const TaskMean& task : tasks) {
    const auto n = static_cast<double>(task.n);
    items += n;
    sum += n * task.mean;
    variance += n * n * task.stderr_ * task.stderr_;
  }
  if (items == 0) return {kUndefined, kUndefined};
  return {sum / items, std::sqrt(variance) / items};
}

}  // namespace qx
