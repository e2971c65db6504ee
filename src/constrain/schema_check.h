// Whether a value satisfies a schema, within the keywords that src/constrain supports.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "constrain/schema_forms.h"
#include "io/json.h"

namespace qx {

// `format` is not looked at. Fails: Error for a schema that is not supported, where the value meets it.
bool satisfies(const Json& value, const Json& schema, SchemaForms& forms, const std::string& path);
// The same for a form that SchemaForms made.
bool satisfies_flat(const Json& value, const Json& flat, SchemaForms& forms,
                    const std::string& path);
// Text that is one JSON document and satisfies the schema.
bool text_satisfies(std::string_view text, const Json& schema);

}  // namespace qx
