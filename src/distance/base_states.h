// What is kept of a base model between its own pass over a text and those of its variants: the final
// hidden states (after the last norm) of the positions that count, in float32. The head applied to them
// gives the base's logits again, bit for bit (model.h, Determinism), so nothing is approximated, in
// hidden_size x 4 bytes a token where the logits take vocab_size x 4.
//
// The file: "QXSTATES", version (u32), bytes of the header (u32), the header, then rows x width float32,
// all little-endian. The header is JSON, {"identity", "rows", "width", "sha256"}, padded with spaces so
// that the values begin at a multiple of 64; sha256 is that of the values.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/mapped_file.h"
#include "io/json.h"
#include "io/posix_file.h"
#include "io/staged.h"
#include "model/model.h"

namespace qx {

struct ParsedStates {
  Json identity;
  std::int64_t rows = 0, width = 0;
  std::span<const std::byte> values;  // rows * width * 4 bytes of the input
};
// Checks all sizes, and the hash. Fails: Error at `origin`.
ParsedStates parse_states(std::span<const std::byte> file, std::string_view origin);

// In memory or in a mapped file.
class BaseStates {
 public:
  BaseStates(std::vector<float> values, std::int64_t rows, std::int64_t width);
  // identity: what the states depend on; the file's must be equal. Fails: Error at the file, naming
  // the first member that differs.
  static BaseStates load(const std::filesystem::path& file, const Json& identity);

  std::int64_t rows() const { return rows_; }
  std::int64_t width() const { return width_; }
  Hidden read(std::int64_t first, std::int64_t count) const;

 private:
  BaseStates() = default;
  std::vector<float> owned_;
  MappedFile file_;
  std::span<const float> values_;
  std::int64_t rows_ = 0, width_ = 0;
};

// Takes rows as they come. With a file name they go to a StagedFile, which commit() syncs and
// renames; without, they stay in memory. Sizes are reserved at once: a full disk shows here.
class StatesWriter {
 public:
  StatesWriter(std::filesystem::path file, const Json& identity, std::int64_t rows,
               std::int64_t width);

  void append(const Hidden& hidden);
  BaseStates commit();  // all rows must have come

 private:
  std::string header(const std::string& hash) const;

  std::filesystem::path target_;
  Json identity_;
  std::int64_t rows_, width_, done_ = 0;
  std::vector<float> values_;
  std::unique_ptr<StagedFile> staged_;
  std::unique_ptr<PosixFile> out_;
  std::uint64_t offset_ = 0;
  Sha256 hash_;
};

}  // namespace qx
