// SPDX-License-Identifier: Apache-2.0
#include "calibrate/second_moments.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/api.h"
#include "model/transpose.h"

namespace qx {
namespace {

constexpr std::int64_t kTile = 96;  // columns, a multiple of the kernels' 24 and 32

std::string_view kind_name(LinearInputKind kind) {
  switch (kind) {
    case LinearInputKind::kQkv:
      return "qkv";
    case LinearInputKind::kO:
      return "o";
    case LinearInputKind::kGateUp:
      return "gate_up";
    case LinearInputKind::kDown:
      return "down";
    case LinearInputKind::kFinal:
      return "final";
  }
  return "";
}

}  // namespace

std::string input_name(LinearInputPlace place) {
  if (place.kind == LinearInputKind::kFinal) return "final";
  return fmt::format("layers.{}.{}", place.layer, kind_name(place.kind));
}

SecondMoments::SecondMoments(std::span<const LinearInputShape> inputs, ThreadPool& pool,
                             const TokenWeights* weights)
    : pool_(pool), weights_(weights), scratch_(static_cast<std::size_t>(pool.threads())) {
  for (const LinearInputShape& input : inputs) {
    Sum& sum = sums_[input.name];
    sum.width = input.width;
    sum.triangle.assign(static_cast<std::size_t>(triangle_size(input.width)), 0.0);
  }
}

void SecondMoments::observe(LinearInputPlace place, const float* rows, std::int64_t count,
                            std::int64_t width) {
  const auto found = sums_.find(input_name(place));
  if (found == sums_.end()) return;
  Sum& sum = found->second;
  QX_CHECK(sum.width == width);
  std::span<const float> roots;
  if (weights_ != nullptr) {
    const std::span<const float> all = weights_->roots(found->first);
    QX_CHECK(sum.rows + count <= static_cast<std::int64_t>(all.size()));
    roots = all.subspan(static_cast<std::size_t>(sum.rows), static_cast<std::size_t>(count));
  }
  for (std::int64_t first = 0; first < count; first += kMomentRows) {
    add(sum, rows + first * width, std::min(kMomentRows, count - first),
        roots.empty() ? nullptr : roots.data() + first);
  }
  sum.rows += count;
  for (std::int64_t i = 0; i < width; ++i) {
    // NaN and infinity in a row reach its square.
    if (std::isfinite(sum.triangle[static_cast<std::size_t>(triangle_size(i + 1) - 1)])) continue;
    fail(fmt::format("input '{}', column {}", found->first, i),
         "got activations that are NaN, infinite or too large to square, expected finite ones; the "
         "model's weights may be damaged");
  }
}

// With the rows transposed, x x^T is a product of a matrix with itself: the kernels' linear layer,
// tiles on and below the diagonal.
void SecondMoments::add(Sum& sum, const float* rows, std::int64_t count, const float* roots) {
  const std::int64_t width = sum.width;
  float* const columns = columns_.reserve(width * count);
  transpose_rows(pool_, rows, count, width, columns);
  if (roots != nullptr) {
    pool_.parallel_for(static_cast<std::size_t>(width), 64,
                       [&](std::size_t begin, std::size_t end, int) {
                         for (std::size_t c = begin; c < end; ++c) {
                           float* column = columns + static_cast<std::int64_t>(c) * count;
                           for (std::int64_t m = 0; m < count; ++m) column[m] *= roots[m];
                         }
                       });
  }
  const WeightRows weights{.kind = WeightKind::kF32,
                           .rows = width,
                           .cols = count,
                           .values = reinterpret_cast<const std::byte*>(columns)};
  struct Tile {
    std::int64_t row, col;
  };
  std::vector<Tile> tiles;
  for (std::int64_t row = 0; row < width; row += kTile) {
    for (std::int64_t col = 0; col <= row; col += kTile) tiles.push_back({row, col});
  }
  pool_.parallel_for(tiles.size(), 1, [&](std::size_t t, std::size_t, int worker) {
    Scratch& scratch = scratch_[static_cast<std::size_t>(worker)];
    const auto [row, col] = tiles[t];
    const std::int64_t row_end = std::min(width, row + kTile),
                       col_end = std::min(width, col + kTile);
    float* tile = scratch.tile.reserve(kTile * kTile);
    kernels().linear(columns + row * count, row_end - row, count, weights, col, col_end, tile,
                     kTile, scratch.decode.reserve(linear_scratch_floats(count)));
    for (std::int64_t i = row; i < row_end; ++i) {
      double* out = sum.triangle.data() + triangle_size(i);
      const float* from = tile + (i - row) * kTile;
      for (std::int64_t j = col; j < std::min(col_end, i + 1); ++j) {
        out[j] += static_cast<double>(from[j - col]);
      }
    }
  });
}

}  // namespace qx
