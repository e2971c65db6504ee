// Long work for Python: without the GIL, stopped by Ctrl-C, with progress.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace qx::python {

// Runs work on a thread of its own, without the GIL, while the calling thread, which holds the GIL,
// waits and lets Python handle signals. When a handler raises (KeyboardInterrupt), the work is
// asked to stop (base/interrupt.h) and the exception goes on. progress: None, or called as
// progress(title, done, total, unit, label) from the thread that works; what it raises stops the
// work too and goes on. The request to stop is one for the whole process: other work that runs at
// that moment ends with KeyboardInterrupt as well. Fails: what work throws.
void run_interruptible(const std::function<void()>& work, const nanobind::object& progress);

template <typename Work>
auto interruptible(Work&& work, const nanobind::object& progress) {
  std::optional<decltype(work())> result;
  run_interruptible([&] { result.emplace(work()); }, progress);
  return std::move(*result);
}

// Lets Python handle signals. Needs the GIL. Fails: nb::python_error when a handler raised.
void check_signals();

// warnings.warn(text, RuntimeWarning). Needs the GIL. Fails: nb::python_error where warnings are
// errors.
void warn(const std::string& text);

}  // namespace qx::python
