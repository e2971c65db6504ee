// SPDX-License-Identifier: Apache-2.0
#include "serve/text_constraint.h"

#include "serve/api_error.h"

namespace qx {

std::vector<std::shared_ptr<GenerationConstraint>> make_constraints(const ServedModel&,
                                                                    const Json& schema, int,
                                                                    std::span<const TokenId>) {
  if (schema.is_null()) return {};
  throw ApiError(400, "response_format and required tool calls are not supported yet",
                 "response_format");
}

Json tool_call_schema(const Json& tools, const std::string& name) {
  Json any = Json::array();
  for (const Json& tool : tools) {
    const Json& function = json_member(tool, "function");
    const Json& own = json_member(function, "name");
    if (!name.empty() && own != name) continue;
    Json arguments = json_member(function, "parameters");
    if (arguments.is_null()) arguments = {{"type", "object"}};
    any.push_back({{"type", "object"},
                   {"properties", {{"name", {{"const", own}}}, {"arguments", arguments}}},
                   {"required", Json::array({"name", "arguments"})},
                   {"additionalProperties", false}});
  }
  return any.size() == 1 ? any.front() : Json{{"anyOf", std::move(any)}};
}

}  // namespace qx
