// SPDX-License-Identifier: Apache-2.0
#include "gradient/matrix_gradient.h"
#include "model/transpose.h"

#include <algorithm>
#include <cstddef>

namespace qx {
namespace {

constexpr std::int64_t kColumns = 96;  // of dx in a tile; a multiple of 32, as codes are decoded
constexpr std::int64_t kPanelRows = 2048;  // of W in a panel: 768 KB
constexpr std::int64_t kDecodedRows = 16;
constexpr std::int64_t kWeightRows = 96;  // of dW in a tile

WeightRows float_matrix(const float* values, std::int64_t rows, std::int64_t cols) {
  WeightRows w;
  w.rows = rows;
  w.cols = cols;
  w.values = reinterpret_cast<const std::byte*>(values);
  return w;
}

// panel[c * count + n] = W[first + n][begin + c]
void transpose_panel(const WeightRows& w, std::int64_t first, std::int64_t count,
                     std::int64_t begin, std::int64_t columns, float* decoded, float* panel) {
  for (std::int64_t n = 0; n < count; n += kDecodedRows) {
    const std::int64_t some = std::min(kDecodedRows, count - n);
    for (std::int64_t i = 0; i < some; ++i) {
      kernels().decode_row(w, first + n + i, begin, columns, decoded + i * kColumns);
    }
    for (std::int64_t c = 0; c < columns; ++c) {
      float* to = panel + c * count + n;
      for (std::int64_t i = 0; i < some; ++i) to[i] = decoded[i * kColumns + c];
    }
  }
}

}  // namespace

void input_gradient(ThreadPool& pool, ProductScratch& scratch, const float* dy, std::int64_t rows,
                    const WeightRows& w, bool add, float* dx) {
  const std::int64_t tiles = (w.cols + kColumns - 1) / kColumns;
  const std::int64_t panel_rows = std::min(kPanelRows, w.rows);
  const auto run = [&](std::int64_t t, ProductScratch::Worker& worker) {
    const std::int64_t begin = t * kColumns, columns = std::min(kColumns, w.cols - begin);
    float* decoded = worker.decoded.reserve(kDecodedRows * kColumns);
    float* panel = worker.panel.reserve(kColumns * panel_rows);
    float* tile = worker.tile.reserve(rows * kColumns);
    float* kernel = worker.kernel.reserve(linear_scratch_floats(panel_rows));
    for (std::int64_t first = 0; first < w.rows; first += kPanelRows) {
      const std::int64_t count = std::min(kPanelRows, w.rows - first);
      transpose_panel(w, first, count, begin, columns, decoded, panel);
      kernels().linear(dy + first, rows, w.rows, float_matrix(panel, columns, count), 0, columns,
                       tile, kColumns, kernel);
      for (std::int64_t m = 0; m < rows; ++m) {
        float* to = dx + m * w.cols + begin;
        if (add || first > 0) {
          kernels().add(to, tile + m * kColumns, columns);
        } else {
          std::copy_n(tile + m * kColumns, columns, to);
        }
      }
    }
  };
  pool.parallel_for(
      static_cast<std::size_t>(tiles), 1, [&](std::size_t begin, std::size_t end, int worker) {
        for (std::size_t t = begin; t < end; ++t) {
          run(static_cast<std::int64_t>(t), scratch.per_worker[static_cast<std::size_t>(worker)]);
        }
      });
}

void transpose_input(ThreadPool& pool, ProductScratch& scratch, const float* x, std::int64_t rows,
                     std::int64_t in) {
  transpose_rows(pool, x, rows, in, scratch.columns.reserve(in * rows));
}

void weight_gradient(ThreadPool& pool, ProductScratch& scratch, const float* dy, std::int64_t rows,
                     std::int64_t out, std::int64_t in, const WeightRowsSink& sink) {
  const WeightRows columns = float_matrix(scratch.columns.data(), in, rows);
  const auto run = [&](std::int64_t first, int index) {
    ProductScratch::Worker& worker = scratch.per_worker[static_cast<std::size_t>(index)];
    const std::int64_t count = std::min(kWeightRows, out - first);
    float* panel = worker.panel.reserve(kWeightRows * rows);
    float* tile = worker.tile.reserve(kWeightRows * in);
    float* kernel = worker.kernel.reserve(linear_scratch_floats(rows));
    for (std::int64_t m = 0; m < rows; ++m) {
      for (std::int64_t n = 0; n < count; ++n) panel[n * rows + m] = dy[m * out + first + n];
    }
    kernels().linear(panel, count, rows, columns, 0, in, tile, in, kernel);
    sink(first, count, tile, index);
  };
  pool.parallel_for(static_cast<std::size_t>((out + kWeightRows - 1) / kWeightRows), 1,
                    [&](std::size_t begin, std::size_t end, int worker) {
                      for (std::size_t t = begin; t < end; ++t) {
                        run(static_cast<std::int64_t>(t) * kWeightRows, worker);
                      }
                    });
}

}  // namespace qx
