// The methods that templates may call on strings, lists, tuples, dicts and ranges.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "text/jinja_value.h"

namespace qx::jinja {

// Null when values of this kind have no such method.
Native find_method(Kind kind, std::string_view name);
// Python's methods that change a list or dict: the immutable sandbox hides them.
bool is_mutator(Kind kind, std::string_view name);
// Methods that Python has and this engine does not.
bool is_unsupported_method(Kind kind, std::string_view name);

}  // namespace qx::jinja
