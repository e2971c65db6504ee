// The filter tojson, and JSON to template values.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "io/json.h"
#include "text/jinja_runtime.h"
#include "text/jinja_value.h"

namespace qx::jinja {

// Ill-formed UTF-8 in texts becomes U+FFFD. Fails: an integer beyond 64 bits, nesting too deep.
Value from_json(Runtime& rt, const Json& json);

// As Python's json.dumps(value, ensure_ascii, indent, separators, sort_keys); ensure_ascii is false unless given,
// as Hugging Face has it.
Value filter_tojson(Runtime& rt, const Value& self, Arguments& arguments);

}  // namespace qx::jinja
