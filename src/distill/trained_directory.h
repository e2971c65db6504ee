// A model directory again, with other values in some of its arrays.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/json.h"

namespace qx {

// Copies every regular file of `source`. Arrays named in `replaced` (all of which must be there, with
// as many bytes) get those bytes; names, types, order and metadata of all arrays stay. qx_plan.json
// gets `fit`; where there is none, one is made of that and the plan's hash. The target is whole or absent.
// Fails: Error (target exists and not force; no room; a broken source).
void write_with_arrays(const std::filesystem::path& source, const std::filesystem::path& target,
                       const std::map<std::string, std::vector<std::byte>>& replaced,
                       const Json& fit, bool force);

}  // namespace qx
