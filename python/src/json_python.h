// JSON documents as Python objects, and back.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/typing.h>

#include <string_view>

#include "io/json.h"

namespace qx::python {

// A JSON object for Python, and how type checkers see it.
using Document = nanobind::typed<nanobind::dict, nanobind::str, nanobind::any>;

// dict, list, str, int, float, bool, None. Needs the GIL.
nanobind::object to_python(const Json& json);
// Of an object.
Document document_to_python(const Json& object);

// The same types, tuples too; keys are strings. place: of messages. Needs the GIL. Fails: Error for
// other types, whole numbers beyond 64 bits, and nesting deeper than 200.
Json from_python(nanobind::handle value, std::string_view place);

}  // namespace qx::python
