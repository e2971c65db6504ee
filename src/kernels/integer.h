// The integer kernels of each instruction set, which the kernel tables point at. Contracts are those
// of KernelTable::quantize_row and KernelTable::linear_integer (kernels/api.h). integer_scalar is the
// specification; the others give the same bits for every input.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/api.h"

#define QX_DECLARE_INTEGER                                                                        \
  std::int32_t quantize_row(const float* x, std::int64_t cols, int group, int planes,             \
                            std::int8_t* codes, float* scales, float* sums, ApartElement* apart); \
  void linear_integer(const IntegerRows& x, std::int64_t m_begin, std::int64_t m_end,             \
                      const WeightRows& w, std::int64_t n_begin, std::int64_t n_end, float* out,  \
                      std::int64_t out_stride, float* scratch);

namespace qx::integer_scalar {
QX_DECLARE_INTEGER
}
#if defined(QX_KERNELS_X86)
namespace qx::integer_avx2 {
QX_DECLARE_INTEGER
}
namespace qx::integer_avxvnni {
QX_DECLARE_INTEGER
}
namespace qx::integer_avx512 {
QX_DECLARE_INTEGER
}
#endif
#if defined(QX_KERNELS_ARM)
namespace qx::integer_neon {
QX_DECLARE_INTEGER
}
namespace qx::integer_neon_dotprod {
QX_DECLARE_INTEGER
}
namespace qx::integer_neon_i8mm {
QX_DECLARE_INTEGER
}
#endif
#undef QX_DECLARE_INTEGER
