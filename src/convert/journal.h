// What a conversion had finished when it was killed, so that a later one can go on from there: one
// line of JSON per tensor in the unfinished output directory, after a first line that says of what.
// Nothing in it is trusted: a tensor counts only if its bytes, and those of the source that it was
// made from, still have the checksums noted here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "io/json.h"

namespace qx {

// A checksum of a tensor is the sum of those of its row blocks, so that blocks may come in any order.
// Not cryptographic: it guards against torn writes.
class BlockChecksum {
 public:
  explicit BlockChecksum(std::int64_t first_row) : state_(static_cast<std::uint64_t>(first_row)) {}
  void update(std::span<const std::byte> bytes);
  std::uint64_t value() const;

 private:
  std::uint64_t state_;
};

// Of the bytes that a tensor was made from, and of those that were made.
struct TensorChecksums {
  std::uint64_t source = 0, output = 0;
  bool fell_back = false;  // gptq was asked for, and mse is what it got
};

class ConversionJournal {
 public:
  using Tensors = std::map<std::string, TensorChecksums>;

  // Tensors noted in a journal of the same identity. Nothing when there is no such journal;
  // `difference` then says why.
  static std::optional<Tensors> read(const std::filesystem::path& file, const Json& identity,
                                     std::string& difference);

  // Starts a new journal with these tensors; it replaces an old one at once or not at all.
  // Fails: Error when the file cannot be written.
  ConversionJournal(const std::filesystem::path& file, const Json& identity,
                    const Tensors& tensors);
  void note(const std::string& tensor, TensorChecksums checksums);

 private:
  std::filesystem::path file_;
  std::ofstream out_;
};

}  // namespace qx
