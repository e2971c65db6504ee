// SPDX-License-Identifier: Apache-2.0
#include "stats/clusters.h"

#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "base/error.h"

namespace qx {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double mean_of(std::span<const double> values) {
  if (values.empty()) return kNaN;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

MeanError mean_error(std::span<const double> values) {
  MeanError result{mean_of(values), kNaN};
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
  MeanError result{mean_of(values), kNaN};
  std::map<std::int64_t, double> residues;
  for (std::size_t i = 0; i < values.size(); ++i) residues[cluster[i]] += values[i] - result.mean;
  if (residues.size() < 2) return result;
  double squares = 0;
  for (const auto& [name, residue] : residues) squares += residue * residue;
  const auto groups = static_cast<double>(residues.size());
  result.stderr_ = std::sqrt(groups / (groups - 1) * squares) / static_cast<double>(values.size());
  return result;
}

MeanError macro_average(std::span<const TaskMean> tasks) {
  if (tasks.empty()) return {kNaN, kNaN};
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
  if (items == 0) return {kNaN, kNaN};
  return {sum / items, std::sqrt(variance) / items};
}

}  // namespace qx
