// A file that grows at its end, with errors that name it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace qx {

// Fails: every member throws Error naming the file, as PosixFile does.
// Threads: sync() and check_linked() may run while another thread appends.
class AppendFile {
 public:
  // Creates the file, its name synced to the disk, or keeps the first keep_bytes of it.
  AppendFile(const std::filesystem::path& path, std::uint64_t keep_bytes);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  // All of it or nothing: what a full disk took of it is cut off again.
  void append(std::string_view text);
  void sync() const;
  // Fails when the file was deleted or replaced since it was opened.
  void check_linked() const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  off_t size_ = 0;
};

}  // namespace qx
