// Whether a directory is exactly what quantizing a source gives, and under which rounding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "quant/affine.h"
#include "tensor/dtype.h"

namespace qx {

struct TensorCheck {
  std::string name;
  std::optional<AffineSpec> affine;  // nothing: a float tensor
  DType dtype = DType::kBF16;        // of the values, or of scales and biases
  std::int64_t units = 0;            // groups of an affine tensor, values of a float one
  // Units whose bytes (code, scale or bias) differ, under Rounding::kCpu and kGpu; a float tensor has no
  // rounding to choose, so both are the same.
  std::array<std::int64_t, 2> different{};
  std::array<std::string, 2> first;  // "row 3, columns from 64"; empty when none differs

  bool is_exact(Rounding rounding) const { return different[rounding == Rounding::kGpu] == 0; }
};

struct Verification {
  std::vector<TensorCheck> tensors;  // in the catalog's order
  bool is_exact(Rounding rounding) const;
  bool holds() const { return is_exact(Rounding::kCpu) || is_exact(Rounding::kGpu); }
};

// Widths, groups and types are those that the directory has; the source's weights are encoded with them
// and compared byte by byte. Fails: Error when either cannot be read, or when they are not the same model
// (tensors, shapes); or when the directory's record says that its codes were fitted.
Verification verify_directory(const std::filesystem::path& directory,
                              const std::filesystem::path& source, ThreadPool& pool, bool quiet);

}  // namespace qx
