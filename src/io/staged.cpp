// SPDX-License-Identifier: Apache-2.0
#include "io/staged.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/posix_file.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// "out/" and "out" name the same target; a relative target keeps a usable parent.
fs::path normalized(const fs::path& target) {
  if (target.empty()) fail("output", "got an empty path, expected a name");
  fs::path path = fs::absolute(target).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (!path.has_filename()) fail(target.string(), "got the root directory, expected a new name");
  return path;
}

fs::path sibling(const fs::path& target, std::string_view suffix) {
  return target.parent_path() / ("." + target.filename().string() + std::string(suffix));
}

bool exists_at(const fs::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

void create_parent(const fs::path& target) {
  std::error_code error;
  fs::create_directories(target.parent_path(), error);
  if (error) fail(target.parent_path().string(), "cannot create the folder: {}", error.message());
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    fail(to.string(), "cannot rename {} to it: {}", from.filename().string(), std::strerror(errno));
  }
}

void remove_or_fail(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail(path.string(), "cannot remove: {}", error.message());
}

[[noreturn]] void fail_exists(const fs::path& target) {
  fail(target.string(), "exists already, expected a new path; remove it or add --force");
}

[[noreturn]] void fail_busy(const fs::path& place) {
  fail(place.string(), "another qx process is writing this output; wait for it to end");
}

// Opens with `flags` and locks what may vanish or be replaced meanwhile; -1 when it did.
int open_locked(const fs::path& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0 && errno == ENOENT) return -1;
  if (fd < 0) fail_errno(path, "cannot open", errno);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    ::close(fd);
    if (error == EWOULDBLOCK) fail_busy(path);
    if (error == EINTR) return -1;
    fail_errno(path, "cannot lock", error);
  }
  struct stat by_fd {
  }, by_path{};
  if (::fstat(fd, &by_fd) != 0 || ::lstat(path.c_str(), &by_path) != 0 ||
      by_fd.st_ino != by_path.st_ino || by_fd.st_dev != by_path.st_dev) {
    ::close(fd);
    return -1;
  }
  return fd;
}

constexpr int kAttempts = 100;

int create_locked_directory(const fs::path& directory) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (::mkdir(directory.c_str(), 0777) != 0 && errno != EEXIST) {
      fail_errno(directory, "cannot create the folder", errno);
    }
    const int fd = open_locked(directory, O_RDONLY | O_DIRECTORY);
    if (fd >= 0) return fd;
  }
  fail(directory.string(), "another process keeps replacing this folder");
}

int create_locked_file(const fs::path& file) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int fd = open_locked(file, O_WRONLY | O_CREAT);
    if (fd >= 0) return fd;
  }
  fail(file.string(), "another process keeps replacing this file");
}

// Whether another StagedDirectory or SideDirectory holds the lock of what is at this path.
bool is_locked(const fs::path& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  const bool locked = ::flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(fd);
  return locked;
}

// Emptied rather than removed: the lock is on this very directory.
void empty_or_fail(const fs::path& directory) {
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(directory)) stale.push_back(entry.path());
  for (const fs::path& path : stale) {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) fail(path.string(), "cannot remove what an earlier run left: {}", error.message());
  }
}

// A run that was killed between the two renames of commit() leaves the old target set aside.
void recover_old(const fs::path& target) {
  const fs::path old = sibling(target, ".qx-old");
  if (!exists_at(old)) return;
  if (exists_at(target)) {
    remove_or_fail(old);
  } else {
    rename_or_fail(old, target);
  }
}

}  // namespace

void check_disk_space(const std::filesystem::path& target, std::uint64_t bytes) {
  fs::path place = normalized(target);
  std::error_code error;
  while (!fs::exists(place, error) && place.has_relative_path()) place = place.parent_path();
  const fs::space_info info = fs::space(place, error);
  if (error || info.available == static_cast<std::uintmax_t>(-1)) return;
  if (info.available < bytes) {
    fail(target.string(), "got {:.1f} MB of free disk space, expected at least {:.1f} MB",
         static_cast<double>(info.available) / 1e6, static_cast<double>(bytes) / 1e6);
  }
}

void write_file_atomic(const std::filesystem::path& target, std::string_view content, bool force) {
  const fs::path path = normalized(target);
  std::error_code ignored;
  if (exists_at(path)) {
    if (!force) fail_exists(target);
    if (!fs::is_regular_file(path, ignored)) {
      fail(target.string(), "exists and is not a regular file, expected a file to replace");
    }
  }
  StagedFile staged(path);
  PosixFile file(staged.path());
  file.write_at(0, std::as_bytes(std::span(content.data(), content.size())));
  file.sync_and_close();
  staged.commit();
}

OutputFileLock::OutputFileLock(const fs::path& target, bool force)
    : target_(normalized(target)), path_(sibling(target_, ".qx-lock")) {
  std::error_code ignored;
  if (fs::is_directory(target_, ignored)) {
    fail(target.string(), "is a directory, expected the name of a file");
  }
  if (!force && exists_at(target_)) fail_exists(target);
  create_parent(target_);
  fd_ = create_locked_file(path_);
}

OutputFileLock::~OutputFileLock() {
  std::error_code ignored;
  fs::remove(path_, ignored);
  ::close(fd_);
}

StagedFile::StagedFile(const fs::path& target)
    : target_(normalized(target)), staging_(sibling(target_, ".qx-partial")) {
  create_parent(target_);
  lock_fd_ = create_locked_file(staging_);
}

StagedFile::~StagedFile() {
  std::error_code ignored;
  if (!committed_) fs::remove(staging_, ignored);
  ::close(lock_fd_);
}

void StagedFile::commit() {
  QX_CHECK(!committed_);
  rename_or_fail(staging_, target_);
  committed_ = true;
  sync_path(target_.parent_path());
}

StagedDirectory::StagedDirectory(const std::filesystem::path& target, bool force, bool resume)
    : target_(normalized(target)), staging_(sibling(target_, ".qx-partial")), force_(force) {
  if (!force && exists_at(target_)) fail_exists(target);
  create_parent(target_);
  lock_fd_ = create_locked_directory(staging_);
  try {
    // Only now: the renames of another process that ends at this moment must be over. It holds the lock
    // of what has become the target until they are.
    if (is_locked(target_)) fail_busy(target_);
    recover_old(target_);
    if (!force && exists_at(target_)) fail_exists(target);
    if (!resume) empty_or_fail(staging_);
  } catch (...) {
    ::rmdir(staging_.c_str());  // unless an earlier run left something in it
    unlock();
    throw;
  }
}

StagedDirectory::~StagedDirectory() {
  if (!committed_ && !keep_) {
    std::error_code ignored;
    fs::remove_all(staging_, ignored);
  }
  unlock();
}

void StagedDirectory::unlock() {
  if (lock_fd_ >= 0) ::close(std::exchange(lock_fd_, -1));
}

void StagedDirectory::commit() {
  QX_CHECK(!committed_);
  for (const auto& entry : fs::recursive_directory_iterator(staging_)) {
    if (entry.is_regular_file() || entry.is_directory()) sync_path(entry.path());
  }
  sync_path(staging_);
  const fs::path old = sibling(target_, ".qx-old");
  const bool replaces = exists_at(target_);
  if (replaces && !force_) fail_exists(target_);
  if (replaces) {
    if (exists_at(old)) remove_or_fail(old);
    rename_or_fail(target_, old);
  }
  try {
    rename_or_fail(staging_, target_);
  } catch (...) {
    if (replaces) ::rename(old.c_str(), target_.c_str());
    throw;
  }
  committed_ = true;
  sync_path(target_.parent_path());
  if (replaces) remove_or_fail(old);
  unlock();
}

SideDirectory::SideDirectory(const fs::path& target, std::string_view suffix, bool resume)
    : directory_(sibling(normalized(target), suffix)), path_(directory_ / "model") {
  const fs::path staging = sibling(normalized(target), ".qx-partial");
  if (is_locked(staging)) fail_busy(staging);
  create_parent(directory_);
  lock_fd_ = create_locked_directory(directory_);
  if (resume) return;
  try {
    empty_or_fail(directory_);
  } catch (...) {
    ::close(lock_fd_);
    throw;
  }
}

SideDirectory::~SideDirectory() {
  std::error_code ignored;
  if (!keep_) fs::remove_all(directory_, ignored);
  ::close(lock_fd_);
}

}  // namespace qx
