// The safetensors format: read by memory map, written in a fixed order.
//   8 bytes   little-endian header length N
//   N bytes   JSON: {"name": {"dtype","shape","data_offsets":[begin,end]}, .., "__metadata__":
//   {..}} rest      tensor data; offsets are relative to byte 8 + N and need not be aligned
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "tensor/dtype.h"

namespace qx {

constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

// The parsed header; spans point into `file_bytes`. Rejects, naming the tensor: header over the
// limit or past the end, unknown dtype, negative or overflowing shapes, offsets reversed,
// overlapping, beyond the end or of another size than the shape asks, duplicate names, gaps are
// allowed. Fails: Error whose place is `origin`.
struct SafetensorsHeader {
  std::vector<TensorView> tensors;              // in order of offset
  std::map<std::string, std::string> metadata;  // string values of __metadata__
};
SafetensorsHeader parse_safetensors(std::span<const std::byte> file_bytes, std::string_view origin);

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  const std::vector<TensorView>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const MappedFile& file() const { return file_; }

 private:
  MappedFile file_;
  SafetensorsHeader header_;
};

// Writes a file whose sizes are known beforehand and whose data come in any order, in pieces.
// The header is padded with spaces so that data start at a multiple of 8; tensors lie in the order
// given. Fails: Error (no space, I/O). finish() checks that every byte was written, and syncs.
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    DType dtype;
    Shape shape;
  };
  SafetensorsWriter(const std::filesystem::path& path, std::vector<Entry> entries,
                    const std::map<std::string, std::string>& metadata);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // Writes `bytes` of tensor `index` at byte `offset_bytes` within that tensor.
  // Threads: may be called from several threads for different ranges.
  void write(std::size_t index, std::uint64_t offset_bytes, std::span<const std::byte> bytes);
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace qx
