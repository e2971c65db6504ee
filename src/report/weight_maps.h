// How the weights of a run's model lie: bits by layer and role, and how far each layer is from the
// float source.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "convert/quant_errors.h"
#include "recipe/directory_map.h"

namespace qx {

struct WeightCell {
  double bits = 0;  // mean over the cell's weights of the codes' width, without scales and biases
  std::int64_t weights = 0;
};

// Tensors of one width.
struct WidthRow {
  std::string mode;              // "affine", "float", ..
  int bits = 0, group_size = 0;  // group_size 0: none
  std::int64_t tensors = 0, weights = 0, bytes = 0;
};

struct WeightMap {
  std::string run;
  std::string missing;             // why nothing is known; "" otherwise
  std::vector<std::string> roles;  // of linear layers, in the catalog's order of roles
  std::vector<std::vector<std::optional<WeightCell>>> cells;  // [role][layer]
  std::vector<std::pair<std::string, WeightCell>> outside;    // embedding, head
  std::vector<WidthRow> widths;  // of all tensors, the most weights first
};

WeightMap weight_map(const std::string& run, const MeasuredDirectory& directory);

struct TensorErrorRow {
  std::string name;
  double relative = 0;  // root of (sum of squared differences / sum of squared source weights)
  double sqnr_db = 0;
  int bits = 0, group_size = 0;
};

// Over quantized tensors only: float ones of a quantized directory are the source's, up to their
// rounding.
struct LayerErrors {
  std::string run;
  std::string missing;
  std::int64_t quantized_tensors = 0;
  std::vector<std::optional<double>> layers;  // relative error of each layer's quantized weights
  std::vector<std::pair<std::string, double>>
      roles;                          // relative error by role, outside ones included
  std::vector<TensorErrorRow> worst;  // the largest relative errors, at most 8
};

// errors: of the directory against its float source, as measure_errors() gives them; `directory`
// names layers and roles.
LayerErrors layer_errors(const std::string& run, const MeasuredDirectory& directory,
                         const std::vector<TensorError>& errors);

}  // namespace qx
