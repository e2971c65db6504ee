// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace qx {
namespace {

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

TEST(ThreadPool, PhysicalCoresIsPositive) {
  EXPECT_GE(physical_cores(), 1);
}

}  // namespace
}  // namespace qx
