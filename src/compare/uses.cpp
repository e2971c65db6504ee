// SPDX-License-Identifier: Apache-2.0
#include "compare/uses.h"

namespace qx {

std::span<const Use> known_uses() {
  static const std::vector<Use> uses = {
      {"text continuation", {"hellaswag"}},      {"reading", {"boolq"}},
      {"abstract reasoning", {"arc_challenge"}}, {"knowledge", {"arc_easy", "openbookqa"}},
      {"common sense", {"piqa", "winogrande"}},
  };
  return uses;
}

}  // namespace qx
