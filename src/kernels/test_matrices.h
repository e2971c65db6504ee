// Random weight matrices for the kernel tests, in buffers that end where memory ends.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <limits>
#include <map>
#include <utility>

#include "base/half.h"
#include "kernels/test_support.h"

namespace qx {

using Bytes = GuardedBuffer<std::byte>;

struct Matrix {
  WeightRows view;
  Bytes values, scales, biases;
};

inline void write_float(ScaleKind kind, float value, std::byte* to) {
  if (kind == ScaleKind::kF32) {
    std::memcpy(to, &value, 4);
    return;
  }
  const std::uint16_t half = kind == ScaleKind::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  std::memcpy(to, &half, 2);
}

inline Bytes gaussian_bytes(Random& random, ScaleKind kind, std::int64_t n, double scale) {
  const int width = kind == ScaleKind::kF32 ? 4 : 2;
  Bytes bytes(n * width);
  for (std::int64_t i = 0; i < n; ++i) {
    write_float(kind, static_cast<float>(scale * random.gaussian()), bytes.data() + i * width);
  }
  return bytes;
}

inline Matrix affine_matrix(Random& random, int bits, int group, ScaleKind kind, std::int64_t rows,
                            std::int64_t cols) {
  Bytes codes(rows * (cols / 8 * bits));
  for (std::byte& b : codes.span()) b = static_cast<std::byte>(random.next());
  Matrix m = {{WeightKind::kAffine, kind, bits, group, rows, cols},
              std::move(codes),
              gaussian_bytes(random, kind, rows * (cols / group), 0.1),
              gaussian_bytes(random, kind, rows * (cols / group), 1.0)};
  m.view.values = m.values.data();
  m.view.scales = m.scales.data();
  m.view.biases = m.biases.data();
  return m;
}

inline Matrix float_matrix(Random& random, WeightKind kind, std::int64_t rows, std::int64_t cols) {
  const ScaleKind element = kind == WeightKind::kF32   ? ScaleKind::kF32
                            : kind == WeightKind::kF16 ? ScaleKind::kF16
                                                       : ScaleKind::kBF16;
  Matrix m = {{kind, ScaleKind::kBF16, 0, 0, rows, cols},
              gaussian_bytes(random, element, rows * cols, 1.0),
              Bytes(0),
              Bytes(0)};
  m.view.values = m.values.data();
  return m;
}

struct Columns {
  std::int64_t begin, end;
};

// Exactly the promised size (rounded up for alignment: it ends at a page), full of NaN.
inline float* fresh_scratch(std::int64_t cols) {
  static std::map<std::int64_t, Floats> buffers;
  const std::int64_t need = (linear_scratch_floats(cols) + 15) / 16 * 16;
  const auto it = buffers.try_emplace(need, need).first;
  EXPECT_TRUE(it->second.front_intact());
  std::fill_n(it->second.data(), need, std::numeric_limits<float>::quiet_NaN());
  return it->second.data();
}

}  // namespace qx
