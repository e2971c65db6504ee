// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
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
#include <unistd.h>
#endif

#include "base/error.h"

namespace qx {
namespace {

// How long a thread polls for the next job, or for the others to end, before it sleeps: longer than
// the gap between two kernels of one token, far shorter than anything a user would notice as load.
constexpr auto kSpin = std::chrono::microseconds(60);
constexpr int kPollsPerClock = 16;  // reading the clock costs more than a poll

constexpr std::size_t kCacheLine = 128;  // Apple's; x86 fetches 64-byte lines in pairs

void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Polls until `ready` or for kSpin; true when ready. With more threads than cores a poll gives the
// core away: whoever is waited for may need it.
template <typename Ready>
bool spin(bool yields, Ready ready) {
  const auto until = std::chrono::steady_clock::now() + kSpin;
  for (int polls = 1;; ++polls) {
    if (ready()) return true;
    if (yields) {
      std::this_thread::yield();
    } else {
      cpu_relax();
    }
    if ((yields || polls % kPollsPerClock == 0) && std::chrono::steady_clock::now() > until) {
      return ready();
    }
  }
}

// What is left of one worker's share of the chunks. Its owner takes chunks from the front, others
// steal from the back, so that the owner goes through memory in order. Both ends are in one word;
// within a job the front only rises and the back only falls, so that a compare-and-swap cannot
// mistake one state for another. (After an exception both become 0, which is final.)
class alignas(kCacheLine) Share {
 public:
  void reset(std::uint64_t front, std::uint64_t back) {
    ends_.store(front << 32 | back, std::memory_order_relaxed);
  }
  bool take_front(std::size_t* chunk) {
    std::uint64_t ends = ends_.load(std::memory_order_relaxed);
    while (front(ends) < back(ends)) {
      if (ends_.compare_exchange_weak(ends, ends + kOneFront, std::memory_order_relaxed)) {
        *chunk = front(ends);
        return true;
      }
    }
    return false;
  }
  bool take_back(std::size_t* chunk) {
    std::uint64_t ends = ends_.load(std::memory_order_relaxed);
    while (front(ends) < back(ends)) {
      if (ends_.compare_exchange_weak(ends, ends - 1, std::memory_order_relaxed)) {
        *chunk = back(ends) - 1;
        return true;
      }
    }
    return false;
  }

 private:
  static constexpr std::uint64_t kOneFront = std::uint64_t{1} << 32;
  static std::size_t front(std::uint64_t ends) { return ends >> 32; }
  static std::size_t back(std::uint64_t ends) { return ends & UINT32_MAX; }
  std::atomic<std::uint64_t> ends_{0};
};

int usable_cpus() {
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    return std::max(1, static_cast<int>(CPU_COUNT(&allowed)));
  }
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

#if defined(__linux__)
namespace {

// Distinct cores among the CPUs that `chosen` takes; 0 when the system does not say.
template <typename Chosen>
int distinct_cores(Chosen chosen) {
  std::set<std::pair<std::string, std::string>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!chosen(cpu)) continue;
    const std::string base = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string package, core;
    std::ifstream(base + "physical_package_id") >> package;
    std::ifstream(base + "core_id") >> core;
    if (core.empty()) return 0;
    cores.insert({package, core});
  }
  return static_cast<int>(cores.size());
}

}  // namespace
#endif

int physical_cores() {
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    const int cores = distinct_cores([&](int cpu) { return CPU_ISSET(cpu, &allowed); });
    if (cores > 0) return cores;
  }
#endif
  return usable_cpus();
}

int machine_cores() {
  int cores = 0;
#if defined(__linux__)
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  cores = distinct_cores([&](int cpu) { return cpu < cpus; });
  if (cores == 0) cores = static_cast<int>(cpus);
#endif
  return std::max(cores, physical_cores());
}

struct ThreadPool::State {
  explicit State(int threads)
      : shares(static_cast<std::size_t>(threads)), yields(threads > usable_cpus()) {}
  void end_workers();  // no job may be running

  // Raised once per job; what sleeping workers wait for.
  alignas(kCacheLine) std::atomic<std::uint32_t> generation{0};
  // How many workers are inside the current job, and kClosed once none may enter. A worker that
  // wakes too late finds the job closed and is never waited for: on a busy machine a job takes as
  // long as its chunks do, not as long as the last thread takes to get a core.
  alignas(kCacheLine) std::atomic<std::uint32_t> gate{kClosed};
  static constexpr std::uint32_t kClosed = std::uint32_t{1} << 31;

  // The current job. Written by the caller before the gate opens.
  alignas(kCacheLine) const std::function<void(std::size_t, std::size_t, int)>* body = nullptr;
  std::size_t count = 0;
  std::size_t grain = 1;
  std::vector<Share> shares;  // by worker
  const bool yields;

  std::atomic<bool> stop{false};
  std::mutex error_mutex;
  std::exception_ptr error;
  std::vector<std::thread> workers;

  void run(std::size_t chunk, int worker) {
    try {
      (*body)(chunk * grain, std::min(count, (chunk + 1) * grain), worker);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(error_mutex);
      if (!error) error = std::current_exception();
      for (Share& share : shares) share.reset(0, 0);
    }
  }

  // The worker's own share first, then what is left of its neighbours'.
  void drain(int worker) {
    const std::size_t own = static_cast<std::size_t>(worker);
    std::size_t chunk = 0;
    while (shares[own].take_front(&chunk)) run(chunk, worker);
    for (std::size_t i = 1; i < shares.size(); ++i) {
      Share& other = shares[(own + i) % shares.size()];
      while (other.take_back(&chunk)) run(chunk, worker);
    }
  }

  bool enter() {
    std::uint32_t inside = gate.load(std::memory_order_relaxed);
    while ((inside & kClosed) == 0) {
      if (gate.compare_exchange_weak(inside, inside + 1, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  void leave() {
    if (gate.fetch_sub(1, std::memory_order_acq_rel) == (kClosed | 1)) gate.notify_one();
  }

  void work(int worker) {
    std::uint32_t seen = 0;
    for (;;) {
      const auto called = [&] { return generation.load(std::memory_order_acquire) != seen; };
      if (!spin(yields, called)) generation.wait(seen, std::memory_order_acquire);
      seen = generation.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      if (!enter()) continue;
      drain(worker);
      leave();
    }
  }

  // Every worker gets the same chunks of the same count and grain, call after call: it meets the
  // rows of a matrix that its core and its memory node have seen before.
  void open(std::size_t chunks) {
    const std::size_t parts = shares.size();
    for (std::size_t i = 0; i < parts; ++i) {
      shares[i].reset(chunks * i / parts, chunks * (i + 1) / parts);
    }
    gate.store(0, std::memory_order_release);
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
  }

  void close() {
    std::uint32_t inside = gate.fetch_or(kClosed, std::memory_order_acq_rel) | kClosed;
    const auto all_out = [&] {
      inside = gate.load(std::memory_order_acquire);
      return inside == kClosed;
    };
    if (inside == kClosed || spin(yields, all_out)) return;
    while (!all_out()) gate.wait(inside, std::memory_order_acquire);
  }
};

void ThreadPool::State::end_workers() {
  stop.store(true, std::memory_order_release);
  generation.fetch_add(1, std::memory_order_acq_rel);
  generation.notify_all();
  for (std::thread& t : workers) t.join();
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>(std::max(1, threads))) {
  QX_CHECK(threads >= 1);
  try {
    for (int i = 1; i < threads; ++i) {
      state_->workers.emplace_back([state = state_.get(), i] { state->work(i); });
    }
  } catch (...) {  // the system gives no more threads: those that run must end first
    state_->end_workers();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  state_->end_workers();
}

int ThreadPool::threads() const {
  return static_cast<int>(state_->shares.size());
}

void ThreadPool::parallel_for(std::size_t count, std::size_t grain,
                              const std::function<void(std::size_t, std::size_t, int)>& body) {
  if (count == 0) return;
  State& s = *state_;
  grain = std::max<std::size_t>(1, grain);
  const std::size_t chunks = count / grain + (count % grain != 0);
  QX_CHECK(chunks <= UINT32_MAX);
  s.grain = grain;
  s.count = count;
  s.body = &body;
  s.error = nullptr;
  if (s.workers.empty() || chunks == 1) {
    // The only share is the caller's; without the others' nothing is stolen.
    for (std::size_t i = 1; i < s.shares.size(); ++i) s.shares[i].reset(0, 0);
    s.shares[0].reset(0, chunks);
    s.drain(0);
  } else {
    s.open(chunks);
    s.drain(0);
    s.close();
  }
  s.body = nullptr;
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace qx
