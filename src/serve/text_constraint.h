// JSON schemas of requests as constraints of the engine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "constrain/token_constraint.h"
#include "io/json.h"
#include "serve/generation_task.h"
#include "serve/served_model.h"

namespace qx {

// Once a request: a large schema takes long. Null for a null schema.
// Fails: ApiError for a schema that is not supported.
std::shared_ptr<const SchemaGrammar> compile_constraint(const Json& schema);

// One constraint for each choice; none for a null grammar.
std::vector<std::shared_ptr<GenerationConstraint>> make_constraints(const ServedModel& model,
                                                                    const SchemaGrammar* grammar,
                                                                    int choices,
                                                                    std::span<const TokenId> stop);

// What stands between <tool_call> tags: a call of the named tool, or of any of them.
Json tool_call_schema(const Json& tools, const std::string& name);

}  // namespace qx
