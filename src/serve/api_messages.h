// OpenAI's messages and tools in the shape that chat templates take. For api_request.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "serve/api_request.h"

namespace qx {

// Text parts are joined to one string, arguments of tool calls become objects (templates write them
// with tojson), the role developer becomes system. Fails: ApiError for other parts than text, roles
// that nobody has, and a shape that is not OpenAI's.
Json template_messages(const Json& messages);

// Null or an array of {"type": "function", "function": {"name", ..}}; null for an empty one.
Json template_tools(const Json& tools);

}  // namespace qx
