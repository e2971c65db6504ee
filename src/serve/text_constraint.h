// JSON schemas of requests as constraints of the engine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/json.h"
#include "serve/generation_task.h"
#include "serve/served_model.h"

namespace qx {

// One constraint for each choice; none for a null schema.
// Fails: ApiError for a schema that is not supported.
std::vector<std::shared_ptr<GenerationConstraint>> make_constraints(const ServedModel& model,
                                                                    const Json& schema, int choices,
                                                                    std::span<const TokenId> stop);

// What stands between <tool_call> tags: a call of the named tool, or of any of them.
Json tool_call_schema(const Json& tools, const std::string& name);

}  // namespace qx
