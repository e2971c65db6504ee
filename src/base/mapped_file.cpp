// SPDX-License-Identifier: Apache-2.0
#include "base/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/error.h"

namespace qx {
namespace {

// What the signal handler may look at: fixed slots of atomics, no locks, no allocation.
struct Slot {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};
  std::atomic<char*> name{nullptr};
};
std::array<Slot, 1024> g_slots;
struct sigaction g_previous_handler;

void write_all(const char* text) {
  std::size_t left = std::strlen(text);
  while (left > 0) {
    const ssize_t n = ::write(STDERR_FILENO, text, left);
    if (n <= 0) return;
    text += n;
    left -= static_cast<std::size_t>(n);
  }
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (const Slot& slot : g_slots) {
    if (address < slot.begin.load() || address >= slot.end.load()) continue;
    const char* name = slot.name.load();
    write_all("qx: [");
    write_all(name != nullptr ? name : "mapped file");
    write_all(
        "] the file shrank while it was being read, expected it to stay whole; "
        "restore it and run the command again\n");
    ::_exit(1);
  }
  if ((g_previous_handler.sa_flags & SA_SIGINFO) != 0 &&
      g_previous_handler.sa_sigaction != nullptr) {
    g_previous_handler.sa_sigaction(signal, info, context);
    return;
  }
  ::signal(SIGBUS, SIG_DFL);
  ::raise(SIGBUS);
}

void install_handler_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &g_previous_handler);
  });
}

void register_range(const std::byte* data, std::size_t size, const std::string& name) {
  install_handler_once();
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  for (Slot& slot : g_slots) {
    std::uintptr_t free = 0;
    if (!slot.begin.compare_exchange_strong(free, begin)) continue;
    slot.name.store(::strdup(name.c_str()));
    slot.end.store(begin + size);
    return;
  }
}

void unregister_range(const std::byte* data) {
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  for (Slot& slot : g_slots) {
    if (slot.begin.load() != begin) continue;
    slot.end.store(0);
    std::free(slot.name.exchange(nullptr));
    slot.begin.store(0);
    return;
  }
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path.string(), "cannot open the file: {}", std::strerror(errno));
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    fail(path.string(), "expected a regular file");
  }
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ > 0) {
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
    const int error = errno;
    if (mapped == MAP_FAILED) {
      ::close(fd);
      fail(path.string(), "cannot map {} bytes: {}", size_, std::strerror(error));
    }
    data_ = static_cast<const std::byte*>(mapped);
    register_range(data_, size_, path.string());
  }
  ::close(fd);
}

MappedFile::~MappedFile() {
  reset();
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    reset();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void MappedFile::reset() noexcept {
  if (data_ == nullptr) return;
  unregister_range(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
  data_ = nullptr;
  size_ = 0;
}

void MappedFile::release(std::size_t offset_bytes, std::size_t length_bytes) const {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t begin = (offset_bytes + page - 1) / page * page;
  const std::size_t end = std::min(size_, offset_bytes + length_bytes) / page * page;
  if (data_ == nullptr || begin >= end) return;
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace qx
