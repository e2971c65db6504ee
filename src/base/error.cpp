// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

namespace qx {

void check_failed(const char* condition, const char* file, int line) {
  throw InternalError(fmt::format("{}:{}: expected {}", file, line, condition));
}

}  // namespace qx
