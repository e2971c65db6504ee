// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace qx {
namespace {

TEST(ThreadPool, AProcessMayUseNoMoreCoresThanThereAre) {
  EXPECT_GE(physical_cores(), 1);
  EXPECT_LE(physical_cores(), machine_cores());
#if defined(__linux__)
  // Bound to one processor, as a launcher binds its ranks: the machine keeps its cores.
  const int cores = machine_cores();
  std::thread([cores] {
    cpu_set_t allowed, one;
    CPU_ZERO(&allowed);
    CPU_ZERO(&one);
    ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &allowed)) ++cpu;
    CPU_SET(cpu, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(physical_cores(), 1);
    EXPECT_EQ(machine_cores(), cores);
  }).join();
#endif
}

TEST(ThreadPool, EveryIndexRunsOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (std::size_t count : {0u, 1u, 7u, 1000u}) {
      std::vector<std::atomic<int>> hits(count);
      pool.parallel_for(count, 3, [&](std::size_t begin, std::size_t end, int worker) {
        EXPECT_EQ(begin % 3, 0u);
        EXPECT_LE(end - begin, 3u);
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
        for (std::size_t i = begin; i < end; ++i) ++hits[i];
      });
      for (const auto& h : hits) EXPECT_EQ(h, 1);
    }
  }
}

TEST(ThreadPool, ManySmallJobs) {
  ThreadPool pool(3);
  std::atomic<long> sum{0};
  for (int job = 0; job < 20000; ++job) {
    pool.parallel_for(4, 1, [&](std::size_t b, std::size_t, int) { sum += static_cast<long>(b); });
  }
  EXPECT_EQ(sum, 20000L * 6);
}

TEST(ThreadPool, ExceptionReachesTheCallerAndThePoolLivesOn) {
  ThreadPool pool(4);
  const auto thrower = [](std::size_t, std::size_t, int) { throw std::runtime_error("x"); };
  EXPECT_THROW(pool.parallel_for(100, 1, thrower), std::runtime_error);
  std::atomic<int> count{0};
  pool.parallel_for(100, 1, [&](std::size_t, std::size_t, int) { ++count; });
  EXPECT_EQ(count, 100);
}

// Every first range waits until each worker has one, so nobody has stolen yet.
TEST(ThreadPool, EachWorkerBeginsWithTheSameShareInEveryJob) {
  constexpr int kThreads = 4;
  ThreadPool pool(kThreads);
  for (int job = 0; job < 50; ++job) {
    std::atomic<int> arrived{0};
    std::vector<std::size_t> first(kThreads, SIZE_MAX);
    pool.parallel_for(102, 5, [&](std::size_t begin, std::size_t, int worker) {
      std::size_t& mine = first[static_cast<std::size_t>(worker)];
      if (mine != SIZE_MAX) return;
      mine = begin;
      ++arrived;
      while (arrived < kThreads) std::this_thread::yield();
    });
    // 21 ranges: shares begin at the 0th, 5th, 10th and 15th.
    EXPECT_EQ(first, (std::vector<std::size_t>{0, 25, 50, 75}));
  }
}

// The range that waits for all others ends only if somebody takes the rest of its worker's share.
TEST(ThreadPool, ABusyWorkersShareIsTakenByOthers) {
  ThreadPool pool(3);
  for (const std::size_t slow : {0u, 10u, 29u}) {
    std::atomic<int> done{0};
    std::vector<std::atomic<int>> hits(30);
    pool.parallel_for(30, 1, [&](std::size_t begin, std::size_t, int) {
      ++hits[begin];
      while (begin == slow && done < 29) std::this_thread::yield();
      ++done;
    });
    for (const auto& h : hits) EXPECT_EQ(h, 1);
  }
}

TEST(ThreadPool, MoreThreadsThanCoresOrRanges) {
  ThreadPool pool(64);
  EXPECT_EQ(pool.threads(), 64);
  for (int job = 0; job < 300; ++job) {
    std::atomic<long> sum{0};
    pool.parallel_for(static_cast<std::size_t>(1 + job), 2,
                      [&](std::size_t begin, std::size_t end, int) {
                        for (std::size_t i = begin; i < end; ++i) sum += static_cast<long>(i);
                      });
    EXPECT_EQ(sum, static_cast<long>(job) * (job + 1) / 2);
  }
}

TEST(ThreadPool, PhysicalCoresIsPositive) {
  EXPECT_GE(physical_cores(), 1);
}

}  // namespace
}  // namespace qx
