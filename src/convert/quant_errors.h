// How far a directory's weights are from those of its source, tensor by tensor.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "quant/affine.h"

namespace qx {

struct TensorError {
  std::string name;
  std::optional<AffineSpec> affine;  // nothing: a float tensor
  std::int64_t weights = 0;
  double rms = 0;      // of the difference
  double largest = 0;  // absolute difference
  double sqnr_db =
      0;  // 10 log10(sum of squared source weights / sum of squared differences); infinity when equal
  // Affine tensors only. Clipped: a source weight lies more than half a step outside what the group's codes
  // can express. Flat: all codes are equal, so the group holds one value.
  std::int64_t groups = 0, clipped_groups = 0, flat_groups = 0;
};

// In the catalog's order. Sums are in double, by block in a fixed order: the same for any number of threads.
// Fails: Error when either cannot be read, when they are not the same model, or for a NaN.
std::vector<TensorError> measure_errors(const std::filesystem::path& directory,
                                        const std::filesystem::path& source, ThreadPool& pool,
                                        bool quiet);

}  // namespace qx
