// SPDX-License-Identifier: Apache-2.0
#include "eval/work_list.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"

namespace qx {

void WorkList::add(std::size_t model, std::size_t task, std::vector<Item> items) {
  for (Item& item : items) {
    item.cost = std::max<std::int64_t>(item.cost, 1);
    cost_left_ += item.cost;
  }
  units_.push_back({model, task, 0, std::move(items)});
}

std::optional<WorkWindow> WorkList::next(int workers) {
  QX_CHECK(workers >= 1);
  while (first_ < units_.size() && units_[first_].taken == units_[first_].items.size()) ++first_;
  if (first_ == units_.size()) return {};
  Unit& unit = units_[first_];
  const std::int64_t most = workers == 1 ? std::numeric_limits<std::int64_t>::max()
                                         : std::max(kSmallestWindow, cost_left_ / (2 * workers));
  WorkWindow window{unit.model, unit.task, {}};
  std::int64_t cost = 0;
  while (unit.taken < unit.items.size() && window.items.size() < kWindowItems && cost < most) {
    const Item& item = unit.items[unit.taken++];
    cost += item.cost;
    window.items.push_back(item.position);
  }
  cost_left_ -= cost;
  return window;
}

}  // namespace qx
