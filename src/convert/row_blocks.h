// Row blocks of a model's tensors, spread over the pool, and what is read of one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/interrupt.h"
#include "base/thread_pool.h"
#include "convert/source.h"

namespace qx {

struct RowBlock {
  std::size_t tensor = 0;
  RowRange rows;
};

// Blocks of about 256 Ki weights, so that a worker's buffers stay in its core's second-level cache.
inline void append_row_blocks(std::size_t tensor, MatrixShape shape,
                              std::vector<RowBlock>& blocks) {
  constexpr std::int64_t kWeights = 256 * 1024;
  const std::int64_t step =
      std::max<std::int64_t>(1, kWeights / std::max<std::int64_t>(1, shape.cols));
  for (std::int64_t row = 0; row < shape.rows; row += step) {
    blocks.push_back({tensor, {row, std::min(row + step, shape.rows)}});
  }
}

// Of all tensors, in their order.
inline std::vector<RowBlock> row_blocks(const std::vector<SourceTensor>& tensors) {
  std::vector<RowBlock> blocks;
  for (std::size_t t = 0; t < tensors.size(); ++t) append_row_blocks(t, tensors[t].shape, blocks);
  return blocks;
}

// Rows of a tensor in float32, whatever they are stored as.
inline std::vector<float> decoded_rows(const SourceModel& model, const SourceTensor& tensor,
                                       RowRange rows, SourceScratch& scratch) {
  const std::byte* bytes = model.read_rows(tensor, rows, DType::kF32, scratch);
  std::vector<float> values(static_cast<std::size_t>((rows.end - rows.begin) * tensor.shape.cols));
  load_floats(DType::kF32, bytes, 0, values);
  return values;
}

// Calls body(index of the block, worker) for every block. Results kept by block and added up in their order
// do not depend on the threads. Fails: Interrupted.
inline void for_each_block(ThreadPool& pool, const std::vector<RowBlock>& blocks,
                           const std::function<void(std::size_t block, int worker)>& body) {
  pool.parallel_for(blocks.size(), 1, [&](std::size_t begin, std::size_t end, int worker) {
    for (std::size_t i = begin; i < end; ++i) {
      check_interrupt();
      body(i, worker);
    }
  });
}

}  // namespace qx
