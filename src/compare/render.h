// A comparison as text for a terminal and as JSON for scripts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "compare/comparison.h"
#include "io/json.h"

namespace qx {

std::string render_text(const Comparison& comparison);
Json render_json(const Comparison& comparison);  // the document of `qx compare --json`

}  // namespace qx
