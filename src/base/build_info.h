// What this binary was built from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace qx {

struct BuildInfo {
  std::string version;   // "0.1.0"
  std::string commit;    // full hash, or "unknown" outside a git checkout
  bool dirty = false;    // the checkout had uncommitted changes
  std::string compiler;  // "g++ 12.2.0"
};

const BuildInfo& build_info();

}  // namespace qx
