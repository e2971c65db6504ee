// Sizes as people write them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace qx {

// "16GB" (1000^3), "16GiB" (1024^3), "8000MB", "1.5TB". Fails: UsageError naming `option`.
std::int64_t parse_bytes(std::string_view text, std::string_view option);

}  // namespace qx
