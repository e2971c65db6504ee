// quantize_row for every instruction set but the scalar one: all of it except what is done to the
// columns of a group. Internal linkage, and no call but of what the compiler has built in.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/api.h"

namespace qx {
namespace {

// The magnitude above which elements are apart, from the groups' largest magnitudes, which are
// followed by zeros up to a multiple of 4. Where one is infinity or NaN, no magnitude is above.
inline float apart_limit(const float* largest, std::int64_t groups) {
  float s[4] = {};
  for (std::int64_t g = 0; g < groups; g += 4) {
    for (int i = 0; i < 4; ++i) s[i] += largest[g + i];
  }
  const float sum = (s[0] + s[2]) + (s[1] + s[3]);
  return sum * (kApartRatio / static_cast<float>(groups));
}

// Copies the group that begins at x, of column `first` of its row, to rest with zeros in place of
// the elements apart, and returns how many these are; with none, rest is not written.
inline int take_apart(const float* x, int group, std::int64_t first, float limit, float* rest,
                      ApartElement* apart) {
  int count = 0;
  for (int i = 0; i < group; ++i) count += __builtin_fabsf(x[i]) > limit ? 1 : 0;
  if (count > kMostApart) return 0;
  count = 0;
  for (int i = 0; i < group; ++i) {
    const bool above = __builtin_fabsf(x[i]) > limit;
    if (above) apart[count++] = {static_cast<std::int32_t>(first + i), x[i]};
    rest[i] = above ? 0.0f : x[i];
  }
  return count;
}

// KernelTable::quantize_row. Of `group` columns from x:
//   largest_of(x)                            max|x|; infinity or NaN, the largest, where there is one
//   quantize_group(x, inverse, plane, codes) writes the codes of x * inverse, a second plane `plane`
//                                            bytes after the first, and returns their sum
template <class Largest, class Quantize>
inline std::int32_t quantize_groups(const float* x, std::int64_t cols, int group, int planes,
                                    std::int8_t* codes, float* scales, float* sums,
                                    ApartElement* apart, const Largest& largest_of,
                                    const Quantize& quantize_group) {
  const float limit = planes == 2 ? kExactLimit : kFastLimit;
  const std::int64_t plane = plane_bytes(cols), groups = cols / group;
  for (std::int64_t g = 0; g < groups; ++g) scales[g] = largest_of(x + g * group);
  for (std::int64_t g = groups; g % 4 != 0; ++g) scales[g] = sums[g] = 0.0f;
  const float above = planes == 2 ? apart_limit(scales, groups) : kLargestFloat;
  std::int32_t count = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    const float* from = x + g * group;
    std::int8_t* to = codes + g * group;
    float max = scales[g], rest[128];
    if (planes == 2 && max > above) {
      const int some = take_apart(from, group, g * group, above, rest, apart + count);
      if (some > 0) {
        count += some;
        from = rest;
        max = largest_of(rest);
      }
    }
    const bool finite = max <= kLargestFloat;
    if (!finite || max < kSmallestActivation) {
      for (int i = 0; i < planes; ++i) {
        __builtin_memset(to + i * plane, 0, static_cast<std::size_t>(group));
      }
      scales[g] = finite ? 0.0f : __builtin_nanf("");
      sums[g] = 0.0f;
      continue;
    }
    scales[g] = max / limit;
    sums[g] = static_cast<float>(quantize_group(from, limit / max, plane, to));
  }
  for (int i = 0; i < planes; ++i) {
    __builtin_memset(codes + i * plane + cols, 0, static_cast<std::size_t>(plane - cols));
  }
  return count;
}

}  // namespace
}  // namespace qx
