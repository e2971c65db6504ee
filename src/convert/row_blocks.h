// Row blocks of a model's tensors, spread over the pool.
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

// Blocks of about 256 Ki weights, which stay in a core's second-level cache; in the tensors' order.
inline std::vector<RowBlock> row_blocks(const std::vector<SourceTensor>& tensors) {
  constexpr std::int64_t kWeights = 256 * 1024;
  std::vector<RowBlock> blocks;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const MatrixShape shape = tensors[t].shape;
    const std::int64_t step =
        std::max<std::int64_t>(1, kWeights / std::max<std::int64_t>(1, shape.cols));
    for (std::int64_t row = 0; row < shape.rows; row += step) {
      blocks.push_back({t, {row, std::min(row + step, shape.rows)}});
    }
  }
  return blocks;
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
