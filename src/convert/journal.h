// What a conversion had finished when it was killed, so that a later one can go on from there: one
// line of JSON per tensor in the unfinished output directory, after a first line that says of what.
// Nothing in it is trusted: a tensor counts only if its bytes still have the checksum noted here.
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

class ConversionJournal {
 public:
  // Tensors noted in a journal of the same identity. Nothing when there is no such journal;
  // `difference` then says why, or is empty when there is none at all.
  static std::optional<std::map<std::string, std::uint64_t>> read(const std::filesystem::path& file,
                                                                  const Json& identity,
                                                                  std::string& difference);

  explicit ConversionJournal(std::filesystem::path file) : file_(std::move(file)) {}
  // Starts the journal; tensors noted earlier are written after the first line.
  void start(const Json& identity);
  bool started() const { return out_.is_open(); }
  void note(const std::string& tensor, std::uint64_t checksum);

 private:
  void append(const std::string& tensor, std::uint64_t checksum);
  std::filesystem::path file_;
  std::ofstream out_;
  std::map<std::string, std::uint64_t> waiting_;
};

}  // namespace qx
