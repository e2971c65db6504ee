// Integer kernels of instruction sets that this machine may lack, compiled for emulation (CMakeLists.txt of
// this folder), as tables for the tests: what is not theirs comes from the scalar table.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/api.h"

namespace qx {

std::vector<const KernelTable*> emulated_tables();

}  // namespace qx
