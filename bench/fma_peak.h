// The machine's float32 multiply-add peak, as a yardstick for the kernels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qx {

// Multiply-adds per second of one thread with registers only, by the instructions of the named
// kernel table; the best of several short runs. 0 when there is no measure for that table
// ("scalar", other processors).
double fma_peak(const char* table);

}  // namespace qx
