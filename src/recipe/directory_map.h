// What a model directory's weight files hold, tensor by tensor, measured from stored shapes: for
// `inspect`, for `--like`, and as a recipe. It reads headers, never weights.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "arch/catalog.h"
#include "recipe/plan.h"

namespace qx {

// One catalog tensor as it lies in the files.
struct MeasuredRow {
  CatalogTensor tensor;
  bool is_stored = false;            // false: missing, or of a shape that fits no reading
  std::optional<AffineSpec> affine;  // mode "affine"
  std::string mode = "float";        // "float", "affine", "mxfp4", "nvfp4", "mxfp8"
  int bits = 0;
  std::optional<int> group_size;
  std::optional<DType> dtype;  // of the float tensor, or of scales and biases; nothing for mx modes
  std::int64_t bytes = 0;
};

struct MeasuredDirectory {
  ModelConfig config;
  std::vector<MeasuredRow> rows;      // in catalog order
  std::vector<StorageRow> extra;      // stored tensors that the model does not have
  std::int64_t parameters = 0;        // of the catalog
  std::int64_t tensor_bytes = 0;      // all stored tensors, extra ones included
  std::vector<std::string> problems;  // in words, each with the tensor or file it is about
  std::vector<std::filesystem::path> files;

  double bits_per_weight() const;
  std::vector<StorageRow> storage() const;  // the stored rows, then the extra ones
};

// Shapes decide; what config.json says otherwise is a problem in the list.
// Fails: Error when the directory has no readable config.json or weights.
MeasuredDirectory measure_directory(const std::filesystem::path& directory);

// The directory's own map on another model's tensors: from the weights where there are any, else from
// config.json. Fails: Error when the directory lacks a module that `catalog` has (names the first
// ones and the layer counts), or holds a mode other than affine.
Plan plan_like(const ModelConfig& config, const std::vector<CatalogTensor>& catalog,
               const std::filesystem::path& directory, DType dtype);

// A recipe file (docs/recipes.md) that resolves to exactly this map on a model of the same shape.
// Fails: Error when a tensor is missing or of a mode that recipes do not have.
Json recipe_of(const MeasuredDirectory& directory, const std::string& name);

}  // namespace qx
