// The codec kernels of each instruction set, which the kernel tables point at. Contracts are those
// of KernelTable::affine_encode_row and KernelTable::decode_row (kernels/api.h); the arithmetic is
// described in docs/format.md. Only codec_scalar is readable as a specification: the other two give
// the same bits for every input, NaN payloads of float weights excepted.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/api.h"

#define QX_DECLARE_CODEC                                                                         \
  bool affine_encode_row(const float* row, std::int64_t cols, int bits, int group,               \
                         bool gpu_rounding, ScaleKind type, std::byte* codes, std::byte* scales, \
                         std::byte* biases);                                                     \
  void decode_row(const WeightRows& w, std::int64_t row, std::int64_t begin, std::int64_t n,     \
                  float* out);

namespace qx::codec_scalar {
QX_DECLARE_CODEC
}
#if defined(QX_KERNELS_X86)
namespace qx::codec_avx2 {
QX_DECLARE_CODEC
}
namespace qx::codec_avx512 {
QX_DECLARE_CODEC
}
#endif
#undef QX_DECLARE_CODEC
