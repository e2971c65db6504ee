// A fixed set of worker threads that run index ranges. One pool serves the whole program.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace qx {

// Number of physical cores this process may run on; at least 1.
int physical_cores();

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
  // Which worker gets which range varies from run to run: results must not depend on it.
  // Threads: one caller at a time; not reentrant from inside body.
  // Fails: rethrows the first exception of body after all workers have stopped.
  void parallel_for(std::size_t count, std::size_t grain,
                    const std::function<void(std::size_t, std::size_t, int)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace qx
