// Decimal numbers from text, the same in every locale and standard library.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace qx {

// How many bytes at the front of `text` are a decimal number: [+-] digits [.digits] [e [+-] digits], with a
// digit before or after the point. 0 when there is none.
std::size_t decimal_length(std::string_view text);

// The value of a text that is such a number as a whole; nothing for any other text, or when it is beyond the
// range of double. Below the range it is 0 or subnormal.
std::optional<double> parse_double(std::string_view text);

}  // namespace qx
