// A fixed set of worker threads that run index ranges. One pool serves the whole program.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace qx {

// Number of physical cores this process may run on; at least 1.
int physical_cores();
// Number of physical cores of the machine, whether this process may run on them or not; at least 1.
int machine_cores();

class ThreadPool {
 public:
  // threads >= 1 counts the calling thread, so ThreadPool(1) starts none.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls body(begin, end, worker) for disjoint ranges that cover [0, count), each of at most
  // `grain` indices and starting at a multiple of `grain`; returns when all are done. worker is in
  // [0, threads()) and no two calls with one worker run at once, so it may index scratch memory.
  // Each worker begins with its own contiguous share of the ranges, the same one for the same count
  // and grain, and goes through it in order; one that is done takes ranges from the ends of the
  // others' shares. So which worker gets which range varies: results must not depend on it.
  // Cost: about a microsecond while the workers are awake. They poll for 60 us after a job, then
  // sleep; so does the caller that waits for the last range. A worker that wakes after all ranges
  // are taken is not waited for. count / grain is below 2^32.
  // Threads: one caller at a time; not reentrant from inside body.
  // Fails: rethrows the first exception of body after all workers have stopped.
  void parallel_for(std::size_t count, std::size_t grain,
                    const std::function<void(std::size_t, std::size_t, int)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace qx
