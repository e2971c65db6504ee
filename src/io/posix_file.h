// A file open for writing, with errors that name it. Not for reading: base/mapped_file.h does that.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

namespace qx {

// Fails: every member throws Error naming the file; a full disk, a quota and a file size limit
// (RLIMIT_FSIZE, whose signal is ignored from the first open on) are told apart from other
// failures.
class PosixFile {
 public:
  // Creates or empties the file.
  explicit PosixFile(const std::filesystem::path& path);
  ~PosixFile();
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  // Sets the size and, where the file system can, reserves the blocks, so that a full disk shows
  // now.
  void allocate(std::uint64_t size_bytes);
  // Threads: may be called from several threads for different ranges.
  void write_at(std::uint64_t offset_bytes, std::span<const std::byte> bytes);
  void sync_and_close();
  void close();  // what was written may still be on its way to the disk

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

// Throws Error for an errno value; a full disk, a quota and a file size limit are told apart.
// action: "cannot write".
[[noreturn]] void fail_errno(const std::filesystem::path& path, const char* action, int error);

// fsync of a file or directory by path. Fails: Error.
void sync_path(const std::filesystem::path& path);

}  // namespace qx
