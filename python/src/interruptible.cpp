// SPDX-License-Identifier: Apache-2.0
#include "interruptible.h"

#include <nanobind/stl/string.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "base/interrupt.h"
#include "base/progress.h"

namespace qx::python {
namespace nb = nanobind;
namespace {

constexpr std::chrono::milliseconds kSignalPeriod{50};

// What the threads of one call share.
struct Shared {
  std::mutex mutex;
  std::condition_variable wake;
  bool done = false;
  std::exception_ptr work_failure;      // read after the thread was joined
  std::exception_ptr callback_failure;  // written and read with the GIL
};

ProgressListener listener_of(const nb::object& progress, Shared& shared) {
  return [&progress, &shared](const ProgressFacts& facts, const std::string& label) {
    const nb::gil_scoped_acquire gil;
    if (shared.callback_failure) return;
    try {
      progress(facts.title, facts.done, facts.total, facts.unit, label);
    } catch (...) {
      shared.callback_failure = std::current_exception();
      request_interrupt();
    }
  };
}

// Until the work is done. Returns what a signal handler raised.
std::exception_ptr wait_for(Shared& shared) {
  std::exception_ptr raised;
  std::unique_lock<std::mutex> lock(shared.mutex);
  while (!shared.wake.wait_for(lock, kSignalPeriod, [&] { return shared.done; })) {
    if (raised) continue;
    lock.unlock();
    try {
      const nb::gil_scoped_acquire gil;
      check_signals();
    } catch (...) {
      raised = std::current_exception();
      request_interrupt();
    }
    lock.lock();
  }
  return raised;
}

}  // namespace

void check_signals() {
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

void warn(const std::string& text) {
  if (PyErr_WarnEx(PyExc_RuntimeWarning, text.c_str(), 1) != 0) throw nb::python_error();
}

void run_interruptible(const std::function<void()>& work, const nb::object& progress) {
  Shared shared;
  std::exception_ptr raised;
  {
    const bool listened = progress.is_valid() && !progress.is_none();
    const nb::gil_scoped_release release;
    std::thread worker([&] {
      try {
        std::optional<ListenToProgress> listen;
        if (listened) listen.emplace(listener_of(progress, shared));
        work();
      } catch (...) {
        shared.work_failure = std::current_exception();
      }
      const std::lock_guard<std::mutex> lock(shared.mutex);
      shared.done = true;
      shared.wake.notify_all();
    });
    raised = wait_for(shared);
    worker.join();
  }
  if (raised || shared.callback_failure) clear_interrupt();
  if (raised) std::rethrow_exception(raised);
  if (shared.callback_failure) std::rethrow_exception(shared.callback_failure);
  if (shared.work_failure) std::rethrow_exception(shared.work_failure);
}

}  // namespace qx::python
