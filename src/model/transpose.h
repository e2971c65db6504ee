// Rows as columns.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace qx {

// out[c * count + m] = rows[m * width + c]: [count, width] to [width, count]. They may not overlap.
void transpose_rows(ThreadPool& pool, const float* rows, std::int64_t count, std::int64_t width,
                    float* out);

}  // namespace qx
