// SPDX-License-Identifier: Apache-2.0
#include "fma_peak.h"

#include "machine/peaks.h"

namespace qx {

double fma_peak(const char* table) {
  // Many short runs: the best of them is undisturbed even on a machine that does other work.
  return measure_gmacs(probes_for(table).f32, {1, 300, 1}) * 1e9;
}

}  // namespace qx
