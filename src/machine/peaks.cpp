// SPDX-License-Identifier: Apache-2.0
#include "machine/peaks.h"

#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "kernels/api.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace qx {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Keeps results alive.
std::atomic<std::uint64_t> sink{0};

// Runs body(i) on `threads` threads of its own, from a common start to the last one's end. Not the
// program's pool: its way of handing out work must not be part of the yardstick.
double time_together(int threads, const std::function<void(int)>& body) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> others;
  const auto wait_and_run = [&](int i) {
    ready.fetch_add(1);
    while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
    body(i);
  };
  try {
    for (int i = 1; i < threads; ++i) others.emplace_back(wait_and_run, i);
  } catch (...) {
    go.store(true, std::memory_order_release);
    for (std::thread& t : others) t.join();
    throw;
  }
  while (ready.load() < threads - 1) std::this_thread::yield();
  const double start = seconds();
  go.store(true, std::memory_order_release);
  body(0);
  for (std::thread& t : others) t.join();
  return seconds() - start;
}

// The tables that this machine can run, slowest first.
std::vector<const ProbeTable*> find_tables() {
  std::vector<const ProbeTable*> tables{&kPortableProbes};
  // Kernels of an instruction set are available only where all that the probes need is.
  const KernelTables& kernels = available_kernels();
  for (int i = 0; i < kernels.count; ++i) {
    const std::string_view name = kernels.tables[i]->name;
#if defined(QX_PROBES_X86)
    static const ProbeTable avxvnni = {"avxvnni", kAvxVnniInt8, kAvxVnniInt16, kAvx2Probes.f32,
                                       kAvx2Probes.read};
    if (name == "avx2") tables.push_back(&kAvx2Probes);
    if (name == "avxvnni") tables.push_back(&avxvnni);
    if (name == "avx512") tables.push_back(&kAvx512Probes);
#elif defined(QX_PROBES_ARM)
    if (name == kDotprodProbes.name) tables.push_back(&kDotprodProbes);
    if (name == kI8mmProbes.name) tables.push_back(&kI8mmProbes);
#endif
  }
  return tables;
}

const std::vector<const ProbeTable*>& tables() {
  static const std::vector<const ProbeTable*> found = find_tables();
  return found;
}

}  // namespace

const ProbeTable& best_probes() {
  return *tables().back();
}

const ProbeTable& probes_for(std::string_view kernels) {
  for (const ProbeTable* table : tables()) {
    if (table->name == kernels) return *table;
  }
  // Kernels may be split more finely than probes ("avx512_bf16"): the best whose name begins so.
  for (auto table = tables().rbegin(); table != tables().rend(); ++table) {
    if (kernels.starts_with((*table)->name)) return **table;
  }
  return kPortableProbes;
}

double measure_gmacs(const ComputeProbe& probe, ProbeEffort effort) {
  if (probe.run == nullptr) return 0;
  // A short run tells how many steps take the wanted time.
  constexpr std::int64_t kTrialSteps = 20'000;
  double trial = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double start = seconds();
    sink.fetch_xor(probe.run(kTrialSteps), std::memory_order_relaxed);
    trial = std::min(trial, seconds() - start);
  }
  const double wanted = effort.milliseconds * 1e-3 / std::max(trial, 1e-9);
  const auto steps = static_cast<std::int64_t>(kTrialSteps * std::max(1.0, wanted));
  double best = 0;
  for (int i = 0; i < effort.repeats; ++i) {
    const double took = time_together(
        effort.threads, [&](int) { sink.fetch_xor(probe.run(steps), std::memory_order_relaxed); });
    const double work = static_cast<double>(steps) * static_cast<double>(probe.macs_per_step);
    best = std::max(best, work * effort.threads / took);
  }
  return best * 1e-9;
}

std::size_t ReadBuffer::sensible_bytes() {
  return std::max<std::size_t>(std::size_t{1} << 30, 4 * last_cache_bytes());
}

ReadBuffer::ReadBuffer(std::size_t bytes, int threads) : threads_(threads) {
  // Every thread's part is a multiple of 4096 bytes, which the probes ask for.
  const std::size_t unit = std::size_t{4096} * static_cast<std::size_t>(threads);
  bytes_ = std::max(unit, bytes / unit * unit);
  void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  if (memory == MAP_FAILED) {
    fail("memory", "got no {} bytes to measure how fast memory can be read, expected them", bytes_);
  }
  data_ = static_cast<std::byte*>(memory);
#if defined(MADV_NOHUGEPAGE)
  // Weights are read from mapped files, whose pages are small.
  ::madvise(memory, bytes_, MADV_NOHUGEPAGE);
#endif
  const std::size_t part = bytes_ / static_cast<std::size_t>(threads_);
  // Each thread touches its own part first, so that with several memory nodes it lies near.
  time_together(threads_, [&](int i) {
    std::fill_n(data_ + part * static_cast<std::size_t>(i), part, std::byte{1});
  });
}

ReadBuffer::~ReadBuffer() {
  ::munmap(data_, bytes_);
}

double ReadBuffer::measure_gbs(const ProbeTable& probes) const {
  const std::size_t part = bytes_ / static_cast<std::size_t>(threads_);
  const double took = time_together(threads_, [&](int i) {
    sink.fetch_xor(probes.read(data_ + part * static_cast<std::size_t>(i), part),
                   std::memory_order_relaxed);
  });
  return static_cast<double>(bytes_) / took * 1e-9;
}

std::size_t last_cache_bytes() {
#if defined(__APPLE__)
  std::uint64_t bytes = 0;
  for (const char* name : {"hw.perflevel0.l2cachesize", "hw.l3cachesize"}) {
    std::uint64_t value = 0;
    std::size_t size = sizeof value;
    if (::sysctlbyname(name, &value, &size, nullptr, 0) == 0) bytes = std::max(bytes, value);
  }
  return static_cast<std::size_t>(bytes);
#else
  // What sysconf says may be the sum over a package, so ask the files first.
  for (int index = 4; index >= 2; --index) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) +
                       "/size");
    std::size_t size = 0;
    char unit = 'K';
    if (file >> size) {
      file >> unit;
      return size << (unit == 'M' ? 20 : 10);
    }
  }
#if defined(_SC_LEVEL3_CACHE_SIZE)
  const long bytes = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (bytes > 0) return static_cast<std::size_t>(bytes);
#endif
  return 0;
#endif
}

std::string processor_name() {
#if defined(__APPLE__)
  char name[256] = {};
  std::size_t size = sizeof name - 1;
  if (::sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0) return name;
#else
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
#endif
  utsname system{};
  return ::uname(&system) == 0 ? system.machine : "unknown";
}

}  // namespace qx
