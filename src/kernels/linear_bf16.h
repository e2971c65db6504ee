// Products of bfloat16 rows with bfloat16 weights, for the tables that have an instruction for them.
// Contracts: KernelTable::round_bf16 and KernelTable::linear_bf16 (kernels/api.h).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/api.h"

namespace qx::linear_avx512bf16 {

void round_bf16(const float* x, std::int64_t n, std::uint16_t* out);
void linear_bf16(const std::uint16_t* x, std::int64_t m, std::int64_t x_stride, const WeightRows& w,
                 std::int64_t n_begin, std::int64_t n_end, float* out, std::int64_t out_stride,
                 float* scratch);

}  // namespace qx::linear_avx512bf16
