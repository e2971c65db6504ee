// SPDX-License-Identifier: Apache-2.0
#include "report/weight_maps.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "base/error.h"

namespace qx {
namespace {

constexpr std::size_t kWorst = 8;

bool shown_role(Role role) {
  return role != Role::kNorm && role != Role::kBias;
}

std::int64_t weights_of(const CatalogTensor& tensor) {
  std::int64_t n = 1;
  for (const std::int64_t extent : tensor.shape) n *= extent;
  return n;
}

void add_to(std::optional<WeightCell>& cell, int bits, std::int64_t weights) {
  if (!cell) cell.emplace();
  const auto before = static_cast<double>(cell->weights), more = static_cast<double>(weights);
  cell->bits = (cell->bits * before + bits * more) / (before + more);
  cell->weights += weights;
}

// Sums of squares of a set of tensors.
struct Power {
  double noise = 0, signal = 0;
  void add(const TensorError& error) {
    const double n = error.rms * error.rms * static_cast<double>(error.weights);
    noise += n;
    signal += n * std::pow(10.0, error.sqnr_db / 10);
  }
  std::optional<double> relative() const {
    if (!(signal > 0) || !std::isfinite(signal)) return std::nullopt;
    return std::sqrt(noise / signal);
  }
};

}  // namespace

WeightMap weight_map(const std::string& run, const MeasuredDirectory& directory) {
  WeightMap map;
  map.run = run;
  int layers = 0;
  for (const MeasuredRow& row : directory.rows) layers = std::max(layers, row.tensor.layer + 1);
  std::map<Role, std::vector<std::optional<WeightCell>>> by_role;
  std::map<Role, std::optional<WeightCell>> outside;
  std::map<std::tuple<std::string, int, int>, WidthRow> widths;
  for (const MeasuredRow& row : directory.rows) {
    if (!row.is_stored) continue;
    const std::int64_t weights = weights_of(row.tensor);
    const int group = row.group_size.value_or(0);
    WidthRow& width = widths[{row.mode, row.bits, group}];
    width.mode = row.mode;
    width.bits = row.bits;
    width.group_size = group;
    ++width.tensors;
    width.weights += weights;
    width.bytes += row.bytes;
    if (!shown_role(row.tensor.role) || weights == 0) continue;
    if (row.tensor.layer < 0) {
      add_to(outside[row.tensor.role], row.bits, weights);
      continue;
    }
    auto& line = by_role[row.tensor.role];
    line.resize(static_cast<std::size_t>(layers));
    add_to(line[static_cast<std::size_t>(row.tensor.layer)], row.bits, weights);
  }
  for (auto& [role, cells] : by_role) {
    map.roles.emplace_back(role_name(role));
    map.cells.push_back(std::move(cells));
  }
  for (const auto& [role, cell] : outside) map.outside.emplace_back(role_name(role), *cell);
  for (auto& [key, width] : widths) map.widths.push_back(std::move(width));
  std::stable_sort(map.widths.begin(), map.widths.end(),
                   [](const WidthRow& a, const WidthRow& b) { return a.weights > b.weights; });
  return map;
}

LayerErrors layer_errors(const std::string& run, const MeasuredDirectory& directory,
                         const std::vector<TensorError>& errors) {
  LayerErrors result;
  result.run = run;
  std::map<std::string, const CatalogTensor*> tensors;
  int layers = 0;
  for (const MeasuredRow& row : directory.rows) {
    tensors[row.tensor.name] = &row.tensor;
    layers = std::max(layers, row.tensor.layer + 1);
  }
  std::vector<Power> by_layer(static_cast<std::size_t>(layers));
  std::map<Role, Power> by_role;
  for (const TensorError& error : errors) {
    const auto found = tensors.find(error.name);
    if (!error.affine || found == tensors.end()) continue;
    ++result.quantized_tensors;
    // Equal to the source to the last bit: the source's power is unknown, and there is no error to
    // spread.
    if (!std::isfinite(error.sqnr_db)) continue;
    const CatalogTensor& tensor = *found->second;
    if (tensor.layer >= 0) by_layer[static_cast<std::size_t>(tensor.layer)].add(error);
    by_role[tensor.role].add(error);
    result.worst.push_back({error.name, std::pow(10.0, -error.sqnr_db / 20), error.sqnr_db,
                            error.affine->bits, error.affine->group});
  }
  for (const Power& power : by_layer) result.layers.push_back(power.relative());
  for (const auto& [role, power] : by_role) {
    if (const auto relative = power.relative()) {
      result.roles.emplace_back(role_name(role), *relative);
    }
  }
  std::stable_sort(
      result.worst.begin(), result.worst.end(),
      [](const TensorErrorRow& a, const TensorErrorRow& b) { return a.relative > b.relative; });
  if (result.worst.size() > kWorst) result.worst.resize(kWorst);
  return result;
}

}  // namespace qx
