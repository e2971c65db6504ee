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
  std::string fit;                   // method of fitted codes, or empty; no rounding matters then
  bool is_exact(Rounding rounding) const;
  bool holds() const { return is_exact(Rounding::kCpu) || is_exact(Rounding::kGpu); }
};

// Widths, groups and types are those that the directory has; the source's weights are encoded with them
// and compared byte by byte. Fails: Error when either cannot be read, or when they are not the same model
// (tensors, shapes); or when the directory's record says that its codes were fitted or distilled.
Verification verify_directory(const std::filesystem::path& directory,
                              const std::filesystem::path& source, ThreadPool& pool, bool quiet);

// The same for fitted codes, which are made again from the source and the calibration as the
// directory's record says: method, damping, order of columns. Codes of another version of the
// program may differ. memory_bytes: as in FitRequest. Fails: Error, also when the record is
// missing, says that the codes were distilled, or names another calibration, or the source is not
// the one that was calibrated.
Verification verify_fitted(const std::filesystem::path& directory,
                           const std::filesystem::path& source,
                           const std::filesystem::path& calibration, std::int64_t memory_bytes,
                           ThreadPool& pool, bool quiet);

}  // namespace qx
