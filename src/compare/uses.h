// What people choose a model for, and the tasks that measure it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace qx {

struct Use {
  std::string_view name;                // "text continuation"
  std::vector<std::string_view> tasks;  // of the seven shipped ones
};

std::span<const Use> known_uses();

}  // namespace qx
