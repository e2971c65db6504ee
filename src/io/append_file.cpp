// SPDX-License-Identifier: Apache-2.0
#include "io/append_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/error.h"
#include "io/posix_file.h"

namespace qx {

AppendFile::AppendFile(const std::filesystem::path& path, std::uint64_t keep_bytes)
    : path_(path), size_(static_cast<off_t>(keep_bytes)) {
  ::signal(SIGXFSZ, SIG_IGN);  // a size limit then arrives as EFBIG
  fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool is_new = fd_ < 0 && errno == ENOENT;
  if (is_new) fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_errno(path_, "cannot write", errno);
  try {
    if (::ftruncate(fd_, size_) != 0 || ::lseek(fd_, size_, SEEK_SET) != size_) {
      fail_errno(path_, "cannot write", errno);
    }
    if (is_new) sync_path(std::filesystem::absolute(path).parent_path());
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

AppendFile::~AppendFile() {
  ::close(fd_);
}

void AppendFile::append(std::string_view text) {
  const std::size_t whole = text.size();
  while (!text.empty()) {
    const ssize_t written = ::write(fd_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = written < 0 ? errno : EIO;
      // When this fails too, a reader sees a torn line.
      if (::ftruncate(fd_, size_) == 0) ::lseek(fd_, size_, SEEK_SET);
      fail_errno(path_, "cannot write", error);
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  size_ += static_cast<off_t>(whole);
}

void AppendFile::sync() const {
  int result = ::fsync(fd_);
  while (result != 0 && errno == EINTR) result = ::fsync(fd_);
  if (result != 0 && errno != EINVAL) fail_errno(path_, "cannot sync", errno);
}

void AppendFile::check_linked() const {
  struct stat by_fd {
  }, by_path{};
  if (::fstat(fd_, &by_fd) != 0) fail_errno(path_, "cannot look at the file", errno);
  if (::stat(path_.c_str(), &by_path) != 0 || by_path.st_ino != by_fd.st_ino ||
      by_path.st_dev != by_fd.st_dev) {
    fail(path_.string(), "was deleted or replaced while it was being written, expected it to stay");
  }
}

}  // namespace qx
