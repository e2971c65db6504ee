// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

namespace qx {

// A gate that the user asked for did not hold (exit 3): the result was printed, this says what failed.
class GateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace qx
