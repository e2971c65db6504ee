// The tables that this binary is compiled with; table.cpp decides which of them the machine can
// run. Constant-initialized: no code of an instruction set runs before it has been chosen.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/api.h"

namespace qx {

extern const KernelTable kScalarTable;
#if defined(QX_KERNELS_X86)
extern const KernelTable kAvx2Table;
extern const KernelTable kAvxVnniTable;  // AVX2, with AVX-VNNI for the integer products
extern const KernelTable kAvx512Table;
extern const KernelTable kAvx512Bf16Table;  // with AVX512_BF16 for bfloat16 products
#endif
#if defined(QX_KERNELS_ARM)
extern const KernelTable kNeonTable;
extern const KernelTable kNeonDotprodTable;
extern const KernelTable kNeonI8mmTable;
#endif

}  // namespace qx
