// SPDX-License-Identifier: Apache-2.0
#include "io/posix_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace qx {

void fail_errno(const std::filesystem::path& path, const char* action, int error) {
  if (error == ENOSPC)
    fail(path.string(), "{}: the disk is full, expected more free space", action);
  if (error == EDQUOT) {
    fail(path.string(), "{}: the disk quota is used up, expected more free space", action);
  }
  if (error == EFBIG) {
    fail(path.string(), "{}: over the file size limit (ulimit -f, or of the file system)", action);
  }
  fail(path.string(), "{}: {}", action, std::strerror(error));
}

namespace {

int reserve_blocks(int fd, std::uint64_t size_bytes) {
  if (size_bytes == 0) return 0;
#if defined(__APPLE__)
  fstore_t request{F_ALLOCATEALL, F_PEOFPOSMODE, 0, static_cast<off_t>(size_bytes), 0};
  return ::fcntl(fd, F_PREALLOCATE, &request) == 0 ? 0 : errno;
#else
  return ::posix_fallocate(fd, 0, static_cast<off_t>(size_bytes));
#endif
}

}  // namespace

PosixFile::PosixFile(const std::filesystem::path& path) : path_(path) {
  ::signal(SIGXFSZ, SIG_IGN);  // a size limit then arrives as EFBIG
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_errno(path_, "cannot create the file", errno);
}

PosixFile::~PosixFile() {
  if (fd_ >= 0) ::close(fd_);
}

void PosixFile::allocate(std::uint64_t size_bytes) {
  const int error = reserve_blocks(fd_, size_bytes);
  // Some file systems cannot reserve; a full disk then shows while writing.
  if (error != 0 && error != EINVAL && error != EOPNOTSUPP && error != ENOTSUP && error != ENODEV) {
    fail_errno(path_, "cannot reserve space", error);
  }
  if (::ftruncate(fd_, static_cast<off_t>(size_bytes)) != 0) {
    fail_errno(path_, "cannot set the file size", errno);
  }
}

void PosixFile::write_at(std::uint64_t offset_bytes, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // Linux and macOS write at most 2 GiB in one call.
    const std::size_t piece = std::min<std::size_t>(bytes.size(), std::size_t{1} << 30);
    const ssize_t n = ::pwrite(fd_, bytes.data(), piece, static_cast<off_t>(offset_bytes));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail_errno(path_, "cannot write", n < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset_bytes += static_cast<std::uint64_t>(n);
  }
}

void PosixFile::sync_and_close() {
  if (::fsync(fd_) != 0 && errno != EINVAL) fail_errno(path_, "cannot sync", errno);
  close();
}

void PosixFile::close() {
  if (::close(std::exchange(fd_, -1)) != 0) fail_errno(path_, "cannot close", errno);
}

void sync_path(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_errno(path, "cannot open for syncing", errno);
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // Some file systems cannot sync a directory (EINVAL); there is nothing more to do then.
  if (result != 0 && error != EINVAL) fail_errno(path, "cannot sync", error);
}

}  // namespace qx
