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

// The lock of an output that is made in a way of its own: `.NAME.qx-lock` beside the target, held from
// the constructor, which makes the target's folder, to the destructor, which removes it. Fails: Error
// (another process holds it; the target is a directory, or exists and not force).
class OutputFileLock {
 public:
  OutputFileLock(const std::filesystem::path& target, bool force);
  ~OutputFileLock();
  OutputFileLock(const OutputFileLock&) = delete;
  OutputFileLock& operator=(const OutputFileLock&) = delete;

  const std::filesystem::path& target() const { return target_; }  // absolute

 private:
  std::filesystem::path target_, path_;
  int fd_ = -1;
};

// A file in the making. The temporary is `.NAME.qx-partial` beside the target; it is locked, so a second
// process is told and stops, and of one name, so that what a killed run left is replaced. Makes the
// target's folder. The destructor removes the temporary unless commit() ran. Fails: Error.
class StagedFile {
 public:
  explicit StagedFile(const std::filesystem::path& target);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  // Write here, and sync: with PosixFile, or what is built on it.
  const std::filesystem::path& path() const { return staging_; }
  void commit();  // renames, over an old target too

 private:
  std::filesystem::path target_, staging_;
  int lock_fd_ = -1;
  bool committed_ = false;
};

// Writes a file in one go. Fails: Error (exists and not force, no room, not writable, being written).
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
  // Whether to leave the temporary for a later resume, where commit() does not run; at first not.
  void keep(bool on = true) { keep_ = on; }
  // Syncs every file and renames; replaces an old target when force. The lock ends with it.
  void commit();

 private:
  void unlock();

  std::filesystem::path target_, staging_;
  int lock_fd_ = -1;
  bool force_ = false, keep_ = false, committed_ = false;
};

// A directory that a step towards `target` needs and the result does not: `.NAMESUFFIX` beside it, locked
// from the constructor to the destructor, so that a second process is told and stops, as one is whose
// target is being written by a StagedDirectory. What a killed run left in it is removed first (or kept
// when `resume`). The destructor removes it unless keep() was called. Fails: Error.
class SideDirectory {
 public:
  SideDirectory(const std::filesystem::path& target, std::string_view suffix, bool resume = false);
  ~SideDirectory();
  SideDirectory(const SideDirectory&) = delete;
  SideDirectory& operator=(const SideDirectory&) = delete;

  // A place in it for a model directory, which whoever uses it makes.
  const std::filesystem::path& path() const { return path_; }
  void keep() { keep_ = true; }  // leave it for a later resume

 private:
  std::filesystem::path directory_, path_;
  int lock_fd_ = -1;
  bool keep_ = false;
};

}  // namespace qx
