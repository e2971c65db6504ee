// SPDX-License-Identifier: Apache-2.0
#include "stats/averages.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>

#include "base/error.h"
#include "stats/clusters.h"
#include "stats/equivalence.h"
#include "stats/resampling.h"

namespace qx {
namespace {

constexpr std::size_t kMostSampled = 50;  // changed items; beyond, the normal approximation serves

double observed(const TaskDifference& task) {
  return static_cast<double>(task.counts.wrong_to_right - task.counts.right_to_wrong) /
         static_cast<double>(task.counts.n());
}

// What each changed item, or passage whose changes do not cancel, adds to the average.
std::vector<double> contributions(std::span<const TaskDifference> tasks) {
  std::vector<double> values;
  for (const TaskDifference& task : tasks) {
    const double item = task.weight / static_cast<double>(task.counts.n());
    if (task.sums.empty()) {
      values.insert(values.end(), static_cast<std::size_t>(task.counts.wrong_to_right), item);
      values.insert(values.end(), static_cast<std::size_t>(task.counts.right_to_wrong), -item);
    }
    for (const std::int64_t sum : task.sums) {
      if (sum != 0) values.push_back(item * static_cast<double>(sum));
    }
  }
  return values;
}

// The average's confidence limit on the side where the statistic is z: lower for z > 0.
double limit(std::span<const TaskDifference> tasks, double z) {
  double squares = 0;
  for (const TaskDifference& task : tasks) {
    const double reach =
        task.weight * (observed(task) - tango_bound(task.counts, z, task.design_effect));
    squares += reach * reach;
  }
  return average_difference(tasks) - std::copysign(std::sqrt(squares), z);
}

// P(Z >= z) at the z whose limit is `value`: one-sided p of "the average is `value` or less".
double upper_p(std::span<const TaskDifference> tasks, double value) {
  double low = -9, high = 9;  // p of 1e-19 and less is all the same
  if (limit(tasks, high) > value) return 0;
  if (limit(tasks, low) < value) return 1;
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    (limit(tasks, middle) > value ? low : high) = middle;
  }
  return boost::math::cdf(boost::math::complement(boost::math::normal(), low));
}

}  // namespace

double average_difference(std::span<const TaskDifference> tasks) {
  double sum = 0;
  for (const TaskDifference& task : tasks) sum += task.weight * observed(task);
  return sum;
}

double average_difference_p(std::span<const TaskDifference> tasks) {
  if (tasks.size() == 1) {
    const TaskDifference& task = tasks[0];
    return task.sums.empty() ? mcnemar_exact(task.counts) : clustered_mcnemar(task.sums).p;
  }
  const std::vector<double> values = contributions(tasks);
  if (values.size() <= kMostSampled) return sign_flip_p(values);
  double sum = 0, squares = 0;
  for (const double v : values) {
    sum += v;
    squares += v * v;
  }
  return two_sided_normal_p(sum / std::sqrt(squares));
}

Interval average_difference_interval(std::span<const TaskDifference> tasks, double confidence) {
  QX_CHECK(!tasks.empty() && confidence > 0 && confidence < 1);
  const double z = boost::math::quantile(boost::math::normal(), 0.5 + confidence / 2);
  return {limit(tasks, z), limit(tasks, -z)};
}

double average_equivalence_p(std::span<const TaskDifference> tasks, double margin) {
  QX_CHECK(!tasks.empty() && margin > 0 && margin < 1);
  // The second test is the first one of the exchanged roles.
  std::vector<TaskDifference> mirrored(tasks.begin(), tasks.end());
  for (TaskDifference& task : mirrored) {
    std::swap(task.counts.right_to_wrong, task.counts.wrong_to_right);
  }
  return std::max(upper_p(tasks, -margin), upper_p(mirrored, -margin));
}

}  // namespace qx
