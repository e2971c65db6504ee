// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "base/error.h"

namespace qx {
namespace {

// How long a worker polls for the next job before it sleeps: longer than the gap between two
// kernels of one token, far shorter than anything a user would notice as load.
constexpr auto kSpin = std::chrono::microseconds(60);

void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

int physical_cores() {
  int usable = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    std::set<std::pair<std::string, std::string>> cores;
    usable = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      ++usable;
      const std::string base = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      std::string package, core;
      std::ifstream(base + "physical_package_id") >> package;
      std::ifstream(base + "core_id") >> core;
      if (core.empty()) return std::max(1, usable);
      cores.insert({package, core});
    }
    if (!cores.empty()) return static_cast<int>(cores.size());
  }
#endif
  return std::max(1, usable);
}

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::atomic<unsigned> generation{0};  // one more per job; odd or even has no meaning
  std::atomic<int> running{0};          // workers that have not finished the current job
  std::atomic<bool> stop{false};

  // The current job. Written by the caller before `generation` is raised.
  const std::function<void(std::size_t, std::size_t, int)>* body = nullptr;
  std::size_t count = 0;
  std::size_t grain = 1;
  std::atomic<std::size_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;

  void drain(int worker) {
    for (;;) {
      const std::size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      try {
        (*body)(begin, std::min(count, begin + grain), worker);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(error_mutex);
        if (!error) error = std::current_exception();
        next.store(count, std::memory_order_relaxed);
      }
    }
  }

  void work(int worker) {
    unsigned seen = 0;
    for (;;) {
      const auto spin_until = std::chrono::steady_clock::now() + kSpin;
      while (generation.load(std::memory_order_acquire) == seen) {
        if (std::chrono::steady_clock::now() > spin_until) {
          generation.wait(seen, std::memory_order_acquire);
        } else {
          cpu_relax();
        }
      }
      seen = generation.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      drain(worker);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) running.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  QX_CHECK(threads >= 1);
  for (int i = 1; i < threads; ++i) {
    state_->workers.emplace_back([this, i] { state_->work(i); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_release);
  state_->generation.fetch_add(1, std::memory_order_acq_rel);
  state_->generation.notify_all();
  for (std::thread& t : state_->workers) t.join();
}

int ThreadPool::threads() const {
  return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::parallel_for(std::size_t count, std::size_t grain,
                              const std::function<void(std::size_t, std::size_t, int)>& body) {
  if (count == 0) return;
  State& s = *state_;
  s.grain = std::max<std::size_t>(1, grain);
  s.count = count;
  s.body = &body;
  s.error = nullptr;
  s.next.store(0, std::memory_order_relaxed);
  const bool alone = s.workers.empty() || count <= s.grain;
  if (!alone) {
    s.running.store(static_cast<int>(s.workers.size()), std::memory_order_relaxed);
    s.generation.fetch_add(1, std::memory_order_acq_rel);
    s.generation.notify_all();
  }
  s.drain(0);
  if (!alone) {
    const auto spin_until = std::chrono::steady_clock::now() + kSpin;
    for (int left = s.running.load(std::memory_order_acquire); left != 0;
         left = s.running.load(std::memory_order_acquire)) {
      if (std::chrono::steady_clock::now() > spin_until) {
        s.running.wait(left, std::memory_order_acquire);
      } else {
        cpu_relax();
      }
    }
  }
  s.body = nullptr;
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace qx
