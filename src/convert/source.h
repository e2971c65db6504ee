// The model that is converted: its directory's tensors matched with the catalog, and their rows as
// values of the type that the output has. Float and MLX affine sources; nothing else is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arch/catalog.h"
#include "arch/model_config.h"
#include "io/checkpoint.h"
#include "io/json.h"
#include "quant/affine.h"

namespace qx {

struct SourceTensor {
  const TensorView* weight = nullptr;  // float values, or packed codes
  const TensorView* scales = nullptr;  // affine only
  const TensorView* biases = nullptr;
  std::optional<AffineSpec> affine = std::nullopt;
  MatrixShape shape;  // logical; one row for a vector
  std::string name;
  std::int64_t stored_bytes() const;
};

// Buffers of one worker, reused from block to block.
struct SourceScratch {
  std::vector<float> floats;
  std::vector<std::byte> values;
};

class SourceModel {
 public:
  // Fails: Error naming directory and tensor: missing and unknown tensors (rotary inv_freq and a tied
  // head are dropped silently), wrong shapes and types, mxfp4, nvfp4 and mxfp8 sources.
  explicit SourceModel(const std::filesystem::path& directory);

  const std::filesystem::path& directory() const { return directory_; }
  const ModelConfig& config() const { return config_; }
  const Json& config_json() const { return config_json_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  const std::vector<SourceTensor>& tensors() const { return tensors_; }  // in catalog order
  bool is_quantized() const;
  // The type in which most weights are stored: that of floats, or of scales and biases.
  DType stored_dtype() const;
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Rows [begin, end) of a tensor as values of `dtype`: those of the file itself when they have that
  // type, else decoded and rounded once into scratch. Not checked for NaN and infinity.
  // Threads: any, with a scratch each.
  const std::byte* read_rows(const SourceTensor& tensor, RowRange range, DType dtype,
                             SourceScratch& scratch) const;
  // Fails: Error naming tensor, row and column if one of these values, as read_rows() gave them, is
  // NaN or infinite.
  void refuse_not_finite(const SourceTensor& tensor, RowRange range, DType dtype,
                         const std::byte* values) const;
  // The stored bytes of these rows: of the values, or of codes, scales and biases.
  std::vector<std::span<const std::byte>> stored_rows(const SourceTensor& tensor,
                                                      RowRange range) const;
  // The pages of the tensor are not needed again.
  void release(const SourceTensor& tensor) const;

 private:
  void match_tensors();
  SourceTensor match(const CatalogTensor& expected);
  SourceTensor match_affine(const CatalogTensor& expected, const TensorView& codes,
                            const TensorView& scales);
  void refuse_unknown(const std::vector<CatalogTensor>& catalog) const;

  std::filesystem::path directory_;
  Json config_json_;
  ModelConfig config_;
  Checkpoint checkpoint_;
  std::vector<SourceTensor> tensors_;
  std::vector<std::string> warnings_;
};

// Fails: Error unless both have the same tensors in the same shapes.
void require_same_tensors(const SourceModel& made, const SourceModel& source);

// Index of the first NaN or infinity among n values of a float type; nothing when there is none.
std::optional<std::int64_t> find_not_finite(DType dtype, const std::byte* values, std::int64_t n);

}  // namespace qx
