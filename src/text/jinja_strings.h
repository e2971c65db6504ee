// Operations on strings that methods and filters share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja_value.h"

namespace qx::jinja {

// The string method of that name, or null.
Native find_string_method(std::string_view name);

// As str.replace; negative count: all.
std::string replace_text(Runtime& rt, std::string_view text, std::string_view old_text,
                         std::string_view new_text, std::int64_t count);
// As str.center.
std::string center_text(Runtime& rt, std::string_view text, std::int64_t width, char32_t fill);

}  // namespace qx::jinja
