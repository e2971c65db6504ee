// The values of `format` that generated strings keep to.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace qx {

// A pattern all of whose texts are of the format: "" for one that is not known, which is an annotation then, as
// JSON Schema has it by default.
std::string_view format_pattern(std::string_view format);

}  // namespace qx
