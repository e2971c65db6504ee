// SPDX-License-Identifier: Apache-2.0
#include "model/transpose.h"

#include <algorithm>

namespace qx {

void transpose_rows(ThreadPool& pool, const float* rows, std::int64_t count, std::int64_t width,
                    float* out) {
  constexpr std::int64_t kBlock = 16;  // a cache line
  pool.parallel_for(static_cast<std::size_t>(width), static_cast<std::size_t>(kBlock),
                    [&](std::size_t begin, std::size_t end, int) {
                      for (std::int64_t first = 0; first < count; first += kBlock) {
                        const std::int64_t last = std::min(count, first + kBlock);
                        for (auto c = static_cast<std::int64_t>(begin);
                             c < static_cast<std::int64_t>(end); ++c) {
                          for (std::int64_t m = first; m < last; ++m)
                            out[c * count + m] = rows[m * width + c];
                        }
                      }
                    });
}

}  // namespace qx
