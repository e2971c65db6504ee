// Runs a parsed template.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_runtime.h"

namespace qx::jinja {

// The text that the template gives with these variables (and the globals of jinja_builtins.h).
// Fails: Error with "origin:line" where Jinja2 raises, and at the Runtime's limits.
std::string render(const Template& source, Runtime& rt,
                   const std::vector<std::pair<std::string, Value>>& variables);

}  // namespace qx::jinja
