// Logits of many positions, some rows at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace qx {

// Rows of logits that are held at once: 32 MiB for one model, and no more than 128 rows.
constexpr std::int64_t kBlockBytes = 32 << 20;
inline std::int64_t block_rows(std::int64_t vocab_size) {
  return std::clamp<std::int64_t>(kBlockBytes / (4 * vocab_size), 1, 128);
}

}  // namespace qx
