// Products with elements apart (see IntegerRows) where there are few rows of x, for every instruction
// set that has defined half_to_float. Where there are many, the codes lie unpacked, and the way to
// them is the instruction set's own. Internal linkage, and no call but of what the compiler has built
// in.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/api.h"

namespace qx {
namespace {

inline std::int32_t apart_count(const IntegerRows& x, std::int64_t m) {
  return x.apart_counts == nullptr ? 0 : x.apart_counts[m];
}
inline const ApartElement* apart_of(const IntegerRows& x, std::int64_t m) {
  return x.apart + m * x.apart_stride;
}

template <ScaleKind Kind>
inline float load_scale(const std::byte* p) {
  std::uint32_t bits = 0;
  float value;
  if constexpr (Kind == ScaleKind::kF32) {
    __builtin_memcpy(&bits, p, 4);
  } else {
    std::uint16_t half;
    __builtin_memcpy(&half, p, 2);
    if constexpr (Kind == ScaleKind::kF16) return half_to_float(half);
    bits = static_cast<std::uint32_t>(half) << 16;
  }
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

template <ScaleKind Kind>
void add_apart(const IntegerRows& x, std::int64_t m, const WeightRows& w, std::int64_t n,
               std::int64_t count, float* out) {
  constexpr int kScaleBytes = Kind == ScaleKind::kF32 ? 4 : 2;
  constexpr int kAtOnce = 4;  // chains of q that run side by side
  const std::int64_t row_bytes = w.cols / 8 * w.bits, scales = w.cols / w.group * kScaleBytes;
  const unsigned mask = (1u << w.bits) - 1u;
  const int group_bits = __builtin_ctz(static_cast<unsigned>(w.group));
  const ApartElement* const first = apart_of(x, m);
  const ApartElement* const last = first + apart_count(x, m);
  for (std::int64_t begin = 0; begin < count; begin += kAtOnce) {
    // Beyond the last row that row again.
    std::int64_t row[kAtOnce];
    for (int i = 0; i < kAtOnce; ++i) row[i] = n + (begin + i < count ? begin + i : count - 1);
    float q[kAtOnce] = {};
    for (const ApartElement* e = first; e != last; ++e) {
      // A code lies in two bytes of the row, which has more than two.
      const std::int64_t bit = static_cast<std::int64_t>(e->column) * w.bits;
      const std::int64_t byte = bit / 8 < row_bytes - 2 ? bit / 8 : row_bytes - 2;
      const auto shift = static_cast<unsigned>(bit - 8 * byte);
      const std::int64_t scale_at = (e->column >> group_bits) * kScaleBytes;
#pragma GCC unroll 4
      for (int i = 0; i < kAtOnce; ++i) {
        std::uint16_t word;
        __builtin_memcpy(&word, w.values + row[i] * row_bytes + byte, 2);
        const auto code = static_cast<float>(static_cast<int>((word >> shift) & mask));
        const float scale = load_scale<Kind>(w.scales + row[i] * scales + scale_at);
        const float bias = load_scale<Kind>(w.biases + row[i] * scales + scale_at);
        q[i] = __builtin_fmaf(e->value, __builtin_fmaf(scale, code, bias), q[i]);
      }
    }
    for (int i = 0; i < kAtOnce && begin + i < count; ++i) out[begin + i] += q[i];
  }
}

// out[r] += q of row m of x with the weight row n + r, for r in [0, count).
__attribute__((noinline)) void add_apart(const IntegerRows& x, std::int64_t m, const WeightRows& w,
                                         std::int64_t n, std::int64_t count, float* out) {
  switch (w.scale_kind) {
    case ScaleKind::kBF16:
      return add_apart<ScaleKind::kBF16>(x, m, w, n, count, out);
    case ScaleKind::kF16:
      return add_apart<ScaleKind::kF16>(x, m, w, n, count, out);
    case ScaleKind::kF32:
      return add_apart<ScaleKind::kF32>(x, m, w, n, count, out);
  }
}

}  // namespace
}  // namespace qx
