// Runs made up for tests: who was right on which item is given, everything else follows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace qx::test {

// A task of four choices; right[i] decides item i. Right items choose the gold index, wrong ones the next.
inline TaskResults task_of(const std::string& name, const std::vector<bool>& right) {
  TaskResults task{name, "acc_norm", {}};
  for (std::size_t i = 0; i < right.size(); ++i) {
    const int gold = static_cast<int>(i % 4);
    task.items.push_back({static_cast<std::int64_t>(i), "h" + std::to_string(i), gold,
                          right[i] ? gold : (gold + 1) % 4, 4, right[i], right[i] ? 0.5 : -0.5});
  }
  return task;
}

// `right` items of n, from item `shift` on.
inline std::vector<bool> pattern(std::size_t n, std::size_t right, std::size_t shift = 0) {
  std::vector<bool> out(n);
  for (std::size_t i = 0; i < n; ++i) out[(i + shift) % n] = i < right;
  return out;
}

inline RunResults run_of(const std::string& name, const std::vector<TaskResults>& tasks,
                         std::int64_t bytes = 100) {
  RunResults run{name, {}, bytes, 4.0};
  for (const TaskResults& t : tasks) run.tasks[t.task] = t;
  return run;
}

}  // namespace qx::test
