// Read-only memory map of a whole file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace qx {

// Owns the mapping. Moves keep the address of the bytes. An empty file maps to an empty span.
// If another process shortens the file while it is mapped, touching a lost page would raise SIGBUS;
// a handler installed with the first map turns that into the message
// "qx: [FILE] the file shrank while it was being read" and exit code 1.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);  // Fails: Error (missing, not a file, ..)
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Tells the kernel that this byte range will not be needed again soon, so that a long conversion
  // does not keep its source in memory. A hint; never fails.
  void release(std::size_t offset_bytes, std::size_t length_bytes) const;

 private:
  void reset() noexcept;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace qx
