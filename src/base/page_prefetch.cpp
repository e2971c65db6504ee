// SPDX-License-Identifier: Apache-2.0
#include "base/page_prefetch.h"

#include <sys/mman.h>
#include <unistd.h>
#include <cerrno>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>

namespace qx {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{8} << 20;
constexpr int kThreads = 2;

#if defined(MADV_POPULATE_READ)
constexpr int kPopulateRead = MADV_POPULATE_READ;
#elif defined(__linux__)
constexpr int kPopulateRead = 22;  // since Linux 5.14, whatever the headers say
#else
constexpr int kPopulateRead = -1;
#endif

void read_pages(std::span<const std::byte> block) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(block.data()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(block.data()) + block.size();
  const std::size_t size = (end - begin + page - 1) / page * page;
  // Maps the pages too, at half the cost of a fault for each.
  if (kPopulateRead >= 0) {
    if (::madvise(reinterpret_cast<void*>(begin), size, kPopulateRead) == 0) return;
    if (errno == EFAULT) return;  // beyond the file's end or damaged: left to whoever needs it
  }
  ::madvise(reinterpret_cast<void*>(begin), size, MADV_WILLNEED);
  for (std::size_t i = 0; i < block.size(); i += page) {
    static_cast<void>(*static_cast<const volatile std::byte*>(block.data() + i));
  }
}

}  // namespace

struct PagePrefetch::State {
  std::vector<std::span<const std::byte>> blocks;
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> threads;

  void read() {
    for (;;) {
      const std::size_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= blocks.size()) return;
      read_pages(blocks[i]);
    }
  }
};

PagePrefetch::PagePrefetch(std::vector<std::span<const std::byte>> ranges)
    : state_(std::make_unique<State>()) {
  for (std::span<const std::byte> range : ranges) {
    while (!range.empty()) {
      const std::size_t size = std::min(range.size(), kBlockBytes);
      state_->blocks.push_back(range.first(size));
      range = range.subspan(size);
    }
  }
  try {
    for (int i = 0; i < kThreads && !state_->blocks.empty(); ++i) {
      state_->threads.emplace_back([state = state_.get()] { state->read(); });
    }
  } catch (const std::system_error&) {  // no more threads: then without
  }
}

PagePrefetch::~PagePrefetch() {
  state_->next.store(state_->blocks.size(), std::memory_order_relaxed);
  wait();
}

void PagePrefetch::wait() {
  for (std::thread& t : state_->threads) {
    if (t.joinable()) t.join();
  }
}

}  // namespace qx
