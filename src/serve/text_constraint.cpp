// SPDX-License-Identifier: Apache-2.0
#include "serve/text_constraint.h"

#include "base/error.h"
#include "serve/api_error.h"

namespace qx {
namespace {

class SchemaConstraint final : public GenerationConstraint {
 public:
  explicit SchemaConstraint(TokenConstraint constraint) : constraint_(std::move(constraint)) {}
  void mask(std::span<float> logits) override { constraint_.mask(logits); }
  void accept(TokenId id) override { constraint_.accept(id); }
  bool finished() const override { return constraint_.finished(); }

 private:
  TokenConstraint constraint_;
};

}  // namespace

std::shared_ptr<const SchemaGrammar> compile_constraint(const Json& schema) {
  if (schema.is_null()) return nullptr;
  try {
    return std::make_shared<const SchemaGrammar>(schema, "schema");
  } catch (const Error& e) {
    throw ApiError(400, e.what(), "response_format");
  }
}

std::vector<std::shared_ptr<GenerationConstraint>> make_constraints(const ServedModel& model,
                                                                    const SchemaGrammar* grammar,
                                                                    int choices,
                                                                    std::span<const TokenId> stop) {
  if (grammar == nullptr) return {};
  std::vector<std::shared_ptr<GenerationConstraint>> out;
  for (int i = 0; i < choices; ++i) {
    // A copy each: what a grammar has worked out is for one thread at a time, and choices are sampled
    // by several.
    out.push_back(std::make_shared<SchemaConstraint>(
        TokenConstraint(grammar->copy(), model.vocabulary, stop)));
  }
  return out;
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
