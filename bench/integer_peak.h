// The machine's peak of 8-bit integer multiply-adds, as a yardstick for the integer kernels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qx {

// Multiply-adds of 8-bit values per second of one thread with registers only, by the instructions of
// the named kernel table (vpmaddubsw, vpmaddwd and vpaddd for "avx2"; vpdpbusd for the others); the
// best of several short runs. 0 when there is no measure for that table.
double integer_peak(const char* table);

}  // namespace qx
