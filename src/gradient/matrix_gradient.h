// The two products of a linear layer's backward pass, y = x W^T: dL/dx = dL/dy W and dL/dW =
// dL/dy^T x. Both through the kernels' dot product, whose order of sums is fixed, on tiles that do
// not depend on the number of threads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/api.h"
#include "model/buffer.h"

namespace qx {

// Memory that is kept between products; at most some MB a worker, and one transposed input.
struct ProductScratch {
  explicit ProductScratch(int threads) : per_worker(static_cast<std::size_t>(threads)) {}
  struct Worker {
    FloatBuffer decoded, panel, tile, kernel;
  };
  std::vector<Worker> per_worker;
  FloatBuffer columns;
};

// dx [rows, w.cols] = dy W, or dx += dy W when `add`; dy is [rows, w.rows]. W is decoded panel by
// panel: never a copy of the whole.
void input_gradient(ThreadPool& pool, ProductScratch& scratch, const float* dy, std::int64_t rows,
                    const WeightRows& w, bool add, float* dx);

// Columns of x [rows, in] as the rows of scratch.columns: the right side of weight_gradient, which
// several matrices with one input share.
void transpose_input(ThreadPool& pool, ProductScratch& scratch, const float* x, std::int64_t rows,
                     std::int64_t in);

// Gets rows [first, first + count) of dL/dW, [count, in]; on the pool's threads.
using WeightRowsSink =
    std::function<void(std::int64_t first, std::int64_t count, float* values, int worker)>;
// dL/dW for dy [rows, out] and the input that transpose_input prepared.
void weight_gradient(ThreadPool& pool, ProductScratch& scratch, const float* dy, std::int64_t rows,
                     std::int64_t out, std::int64_t in, const WeightRowsSink& sink);

}  // namespace qx
