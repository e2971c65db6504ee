// SPDX-License-Identifier: Apache-2.0
#include "integer_peak.h"

#include "machine/peaks.h"

namespace qx {

double integer_peak(const char* table) {
  // Many short runs: the best of them is undisturbed even on a machine that does other work.
  return measure_gmacs(probes_for(table).int8, {1, 100, 1}) * 1e9;
}

}  // namespace qx
