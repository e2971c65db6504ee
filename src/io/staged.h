// Outputs that are whole or absent: temporary name beside the target, sync, rename.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace qx {

// Throws Error unless the file system that will hold `target` has room for `bytes` more.
void check_disk_space(const std::filesystem::path& target, std::uint64_t bytes);

// Writes a file in one go. Fails: Error (exists and not force, no room, not writable).
void write_file_atomic(const std::filesystem::path& target, std::string_view content, bool force);

// A directory in the making. The temporary is `.NAME.qx-partial` beside the target; it is locked,
// so a second process is told and stops, and a stale one left by a killed run is removed first (or
// kept when `resume`). The destructor removes it unless commit() ran or keep() was called.
class StagedDirectory {
 public:
  StagedDirectory(const std::filesystem::path& target, bool force, bool resume = false);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  const std::filesystem::path& path() const { return staging_; }  // write here
  void keep() { keep_ = true; }  // leave the temporary for a later resume
  void commit();                 // syncs every file and renames; replaces an old target when force

 private:
  std::filesystem::path target_, staging_;
  int lock_fd_ = -1;
  bool force_ = false, keep_ = false, committed_ = false;
};

// The place of a directory that a step towards `target` needs and the result does not: `.NAMESUFFIX`
// beside it. Whoever uses it makes it; it is removed at the end, whatever happens. Fails: Error for a
// target without a name.
class SideDirectory {
 public:
  SideDirectory(const std::filesystem::path& target, std::string_view suffix);
  ~SideDirectory();
  SideDirectory(const SideDirectory&) = delete;
  SideDirectory& operator=(const SideDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace qx
