// The items that still want an answer, and how they are handed out: in windows that are large enough to share
// passes and beginnings, and that shrink towards the end so that no worker waits long for the last.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace qx {

// Items of one task for one model, in their order; positions in the task's data.
struct WorkWindow {
  std::size_t model = 0, task = 0;
  std::vector<std::size_t> items;
};

class WorkList {
 public:
  struct Item {
    std::size_t position = 0;
    std::int64_t cost = 1;  // tokens that it takes, about
  };

  // Units come out in the order in which they are added, so that a worker changes its model seldom.
  void add(std::size_t model, std::size_t task, std::vector<Item> items);

  // The next window; nothing when all are handed out. A window has at most kWindowItems items, and for
  // several workers at most 1 / (2 * workers) of the cost that is left over all units, but not less than
  // kSmallestWindow as far as its unit has it.
  std::optional<WorkWindow> next(int workers);

  std::int64_t cost_left() const { return cost_left_; }

 private:
  struct Unit {
    std::size_t model = 0, task = 0, taken = 0;
    std::vector<Item> items;
  };
  std::vector<Unit> units_;
  std::size_t first_ = 0;  // unit that has items left
  std::int64_t cost_left_ = 0;
};

// Scored together at most: they share passes and beginnings.
constexpr std::size_t kWindowItems = 256;
// Tokens. Half a pass costs hardly more per token than a whole one.
constexpr std::int64_t kSmallestWindow = 512;

}  // namespace qx
