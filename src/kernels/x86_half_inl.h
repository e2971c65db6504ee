// One IEEE half precision number as float32, for code that is compiled with F16C.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace qx {
namespace {

inline float half_to_float(std::uint16_t half) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

}  // namespace
}  // namespace qx
